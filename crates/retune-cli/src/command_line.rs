//! The command as it was typed, for a report to show.

/// The program's command line.
pub fn typed() -> String {
    let typed = std::env::args_os().skip(1).map(|argument| quoted(&argument.to_string_lossy()));
    std::iter::once("retune".to_owned()).chain(typed).collect::<Vec<_>>().join(" ")
}

/// An argument as a POSIX shell reads it back.
fn quoted(argument: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_./=:,@+%".contains(sign);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_arguments_back() {
        let arguments = ["fit", "--eval", "a=b c", "it's", "", "$HOME", "x@fog:3"];
        let line = arguments.map(quoted).join(" ");
        let shell = std::process::Command::new("sh").args(["-c", &format!("printf '%s\\n' {line}")]).output().unwrap();
        assert_eq!(
            String::from_utf8(shell.stdout).unwrap(),
            arguments.map(|argument| format!("{argument}\n")).concat()
        );
    }
}
