#!/usr/bin/env bash
# Writes the parts of the book's reference that the program itself knows, so that they cannot drift:
#     scripts/reference.sh [RETUNE]            writes book/src/reference/commands.md, commands/*.md, their lines in SUMMARY.md,
#                                              and the tables at the end of methods.md
#     scripts/reference.sh --check [RETUNE]    writes nothing, and fails if these differ from what the program says
# RETUNE is target/release/retune by default.
set -euo pipefail
cd "$(dirname "$0")/.."

check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
retune=${1:-target/release/retune}
book=book/src
# A terminal's width and colors must not show in the text.
unset COLUMNS CLICOLOR_FORCE
export NO_COLOR=1

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
mkdir "$new/commands"

# clap wraps at the width of any terminal that it finds, so it must find none.
help() { "$retune" "$@" --help </dev/null 2>/dev/null; }
# Options that every command takes are on the page of all commands.
own() { sed '/^General options:$/,/^Examples:$/{/^Examples:$/!d}' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'; }
general() { sed -n '/^General options:$/,$p' | sed '/^Examples:$/,$d'; }
commands() { help | sed -n '/^Commands:$/,/^$/p' | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p' | grep -vx help; }
summary() { help "$1" | head -1; }

{
    echo "# Commands"
    echo
    echo "<!-- Written by scripts/reference.sh. -->"
    echo
    echo "| command | |"
    echo "| --- | --- |"
    for command in $(commands); do
        echo "| [\`$command\`](commands/$command.md) | $(summary "$command" | sed 's/|/\\|/g') |"
    done
    echo
    echo "\`retune help COMMAND\` and \`retune COMMAND --help\` print the same text as these pages."
    echo
    echo "## Options of every command"
    echo
    echo '```text'
    help | general
    echo '```'
} >"$new/commands.md"

for command in $(commands); do
    {
        echo "# retune $command"
        echo
        echo "<!-- Written by scripts/reference.sh. -->"
        echo
        echo '```text'
        help "$command" | own
        echo '```'
        echo
        echo "The command also takes the [options of every command](../commands.md#options-of-every-command)."
    } >"$new/commands/$command.md"
done

# The pages of commands follow the page of all commands.
{
    while IFS= read -r line; do
        case $line in
        "  - ["*"](reference/commands/"*) ;;
        "- [Commands](reference/commands.md)")
            echo "$line"
            for command in $(commands); do echo "  - [$command](reference/commands/$command.md)"; done
            ;;
        *) echo "$line" ;;
        esac
    done <$book/SUMMARY.md
} >"$new/SUMMARY.md"

# The tables of methods follow a mark; a program that does not print them leaves them as they are.
mark="<!-- The rest of this page is written by scripts/reference.sh. -->"
if tables=$("$retune" reference methods 2>/dev/null); then
    {
        sed "\|^$mark\$|,\$d" $book/reference/methods.md
        printf '%s\n\n## All methods and options\n\n%s\n' "$mark" "$tables"
    } >"$new/methods.md"
else
    cp $book/reference/methods.md "$new/methods.md"
fi

if [ $check = yes ]; then
    diff -u $book/SUMMARY.md "$new/SUMMARY.md" &&
        diff -u $book/reference/commands.md "$new/commands.md" &&
        diff -u $book/reference/methods.md "$new/methods.md" &&
        diff -ru $book/reference/commands "$new/commands" || {
        echo "the book's reference differs from $retune: run scripts/reference.sh" >&2
        exit 1
    }
else
    rm -rf $book/reference/commands
    cp -r "$new/commands" $book/reference/commands
    cp "$new/commands.md" "$new/methods.md" $book/reference
    cp "$new/SUMMARY.md" $book/SUMMARY.md
fi
