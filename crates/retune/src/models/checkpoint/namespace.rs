//! Texts in a pickled `argparse.Namespace`, which the reader of tensors takes for an object that it does not know.
//!
//! The pickle is walked through operation by operation (Python's `pickletools` lists them) and nothing is built: a text
//! right behind a key is its value.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// Longer texts are no names of architectures.
const LONGEST_TEXT: u64 = 256;
/// Pickles at the start of a file from before PyTorch 1.6: three of the header, then the object.
const PICKLES: usize = 4;

/// The texts that stand under these keys in the first namespace and behind it, in their order; what is damaged ends
/// the search.
pub(super) fn texts(pickle: impl BufRead, keys: &[&str]) -> Vec<String> {
    let mut walk = Walk { pickle, memo: HashMap::new(), memoized: 0, below: None, top: None, is_inside: false };
    let mut found = Vec::new();
    let mut ended = 0;
    while ended < PICKLES
        && let Ok(operation) = walk.step()
    {
        ended += usize::from(operation == b'.');
        if walk.is_inside
            && operation != PUT
            && let (Some(key), Some(text)) = (&walk.below, &walk.top)
            && keys.contains(&key.as_str())
        {
            found.push(text.clone());
        }
    }
    found
}

/// Stands for every operation that keeps the topmost value for later.
const PUT: u8 = b'q';

struct Walk<R> {
    pickle: R,
    /// Texts that are kept for later.
    memo: HashMap<u64, String>,
    /// How many values of any kind were kept without a number.
    memoized: u64,
    /// The two topmost values, where they are texts that were put there one right after the other.
    below: Option<String>,
    top: Option<String>,
    is_inside: bool,
}

impl<R: BufRead> Walk<R> {
    /// Takes one operation with what belongs to it.
    fn step(&mut self) -> io::Result<u8> {
        let operation = self.number(1)? as u8;
        match operation {
            // Texts.
            b'X' | b'T' => self.push_text(4),
            b'U' | 0x8c => self.push_text(1),
            0x8d => self.push_text(8),
            b'V' => {
                let line = self.line()?;
                self.push(Some(line));
                Ok(())
            }
            // The topmost value is kept, or one is fetched again.
            b'q' => self.number(1).map(|at| self.keep(at)),
            b'r' => self.number(4).map(|at| self.keep(at)),
            b'p' => self.line().map(|at| self.keep(at.parse().unwrap_or(u64::MAX))),
            0x94 => {
                self.keep(self.memoized);
                self.memoized += 1;
                Ok(())
            }
            b'h' => self.number(1).map(|at| self.fetch(at)),
            b'j' => self.number(4).map(|at| self.fetch(at)),
            b'g' => self.line().map(|at| self.fetch(at.parse().unwrap_or(u64::MAX))),
            // A class by name.
            b'c' => {
                let name = (self.line()?, self.line()?);
                self.enter(name.0 == "argparse" && name.1 == "Namespace");
                Ok(())
            }
            0x93 => {
                let is_namespace =
                    self.below.as_deref() == Some("argparse") && self.top.as_deref() == Some("Namespace");
                self.enter(is_namespace);
                Ok(())
            }
            _ => self.pass(operation),
        }?;
        Ok(if matches!(operation, b'r' | b'p' | 0x94) { PUT } else { operation })
    }

    /// Any other operation, which ends a row of texts.
    fn pass(&mut self, operation: u8) -> io::Result<()> {
        self.push(None);
        match operation {
            b'I' | b'L' | b'F' | b'S' | b'P' => self.line().map(drop),
            b'i' => self.line().and_then(|_| self.line()).map(drop),
            b'K' | 0x80 | 0x82 => self.number(1).map(drop),
            b'M' | 0x83 => self.number(2).map(drop),
            b'J' | 0x84 => self.number(4).map(drop),
            b'G' | 0x95 => self.number(8).map(drop),
            b'C' | 0x8a => self.number(1).and_then(|length| self.skip(length)),
            b'B' | 0x8b => self.number(4).and_then(|length| self.skip(length)),
            0x8e | 0x96 => self.number(8).and_then(|length| self.skip(length)),
            b'.'
            | b'('
            | b'0'
            | b'1'
            | b'2'
            | b'N'
            | b'R'
            | b'Q'
            | b'a'
            | b'b'
            | b'd'
            | b'}'
            | b'e'
            | b'l'
            | b']'
            | b'o'
            | b's'
            | b't'
            | b')'
            | b'u'
            | 0x81
            | 0x85..=0x89
            | 0x8f..=0x92
            | 0x97
            | 0x98 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn push_text(&mut self, width: usize) -> io::Result<()> {
        let length = self.number(width)?;
        if length > LONGEST_TEXT {
            self.push(None);
            return self.skip(length);
        }
        let mut bytes = vec![0; length as usize];
        self.pickle.read_exact(&mut bytes)?;
        self.push(String::from_utf8(bytes).ok());
        Ok(())
    }

    fn push(&mut self, text: Option<String>) {
        self.below = std::mem::replace(&mut self.top, text);
    }

    fn keep(&mut self, at: u64) {
        if let Some(text) = &self.top {
            self.memo.insert(at, text.clone());
        }
    }

    fn fetch(&mut self, at: u64) {
        let text = self.memo.get(&at).cloned();
        self.push(text);
    }

    fn enter(&mut self, is_namespace: bool) {
        self.is_inside |= is_namespace;
        self.push(None);
    }

    /// A little-endian whole number of so many bytes.
    fn number(&mut self, width: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.pickle.read_exact(&mut bytes[..width])?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.pickle.by_ref().take(LONGEST_TEXT).read_until(b'\n', &mut line)?;
        match line.pop() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).into_owned()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        match io::copy(&mut self.pickle.by_ref().take(length), &mut io::sink())? {
            skipped if skipped == length => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `pickle.dumps({"model": 1, "args": argparse.Namespace(lr=0.1, model="resnet50", tag="x")}, PROTOCOL)` of
    /// Python 3.11: the key `model` is fetched from the memo.
    #[test]
    fn a_namespace_tells_its_texts_in_any_protocol() {
        let pickles: [&[u8]; 3] = [PROTOCOL_0, PROTOCOL_2, PROTOCOL_4];
        for pickle in pickles {
            assert_eq!(texts(pickle, &["arch", "model"]), ["resnet50"]);
            assert!(texts(pickle, &["arch"]).is_empty());
            // A pickle that is cut off, and one whose text claims to be longer than it.
            for end in 0..pickle.len() {
                texts(&pickle[..end], &["model"]);
            }
        }
        assert!(texts(&b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fmodel"[..], &["model"]).is_empty());
    }

    /// The same key outside a namespace, before it, is none of its.
    #[test]
    fn texts_before_a_namespace_are_not_taken() {
        let before = b"\x80\x02}q\x00X\x05\x00\x00\x00modelq\x01X\x01\x00\x00\x00xq\x02s.";
        assert!(texts(&before[..], &["model"]).is_empty());
    }

    const PROTOCOL_0: &[u8] = b"(dp0\nVmodel\np1\nI1\nsVargs\np2\nccopy_reg\n_reconstructor\np3\n(cargparse\nNamespace\np4\nc__builtin__\nobject\np5\nNtp6\nRp7\n(dp8\nVlr\np9\nF0.1\nsg1\nVresnet50\np10\nsVtag\np11\nVx\np12\nsbs.";
    const PROTOCOL_2: &[u8] = b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01K\x01X\x04\x00\x00\x00argsq\x02cargparse\nNamespace\nq\x03)\x81q\x04}q\x05(X\x02\x00\x00\x00lrq\x06G?\xb9\x99\x99\x99\x99\x99\x9ah\x01X\x08\x00\x00\x00resnet50q\x07X\x03\x00\x00\x00tagq\x08X\x01\x00\x00\x00xq\x09ubu.";
    const PROTOCOL_4: &[u8] = b"\x80\x04\x95\\\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x05model\x94K\x01\x8c\x04args\x94\x8c\x08argparse\x94\x8c\x09Namespace\x94\x93\x94)\x81\x94}\x94(\x8c\x02lr\x94G?\xb9\x99\x99\x99\x99\x99\x9ah\x01\x8c\x08resnet50\x94\x8c\x03tag\x94\x8c\x01x\x94ubu.";
}
