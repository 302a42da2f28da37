//! Line reader with a maximum line length. Longer lines are skipped without being buffered.

use std::io::{BufRead, ErrorKind, Result};

/// A line, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line within the bound.
    Whole(Vec<u8>),
    /// A longer line, which was skipped.
    TooLong,
}

/// The lines of a stream.
pub struct Lines<R> {
    input: R,
    /// Maximum bytes of a line, without its newline.
    bound: usize,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `bound` bytes.
    pub fn new(input: R, bound: usize) -> Self {
        Lines { input, bound }
    }

    /// The next line; `None` at the end of the stream. The last line may lack a newline.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn next(&mut self) -> Result<Option<Line>> {
        let (mut line, mut length) = (Vec::new(), 0usize);
        loop {
            let part = match self.input.fill_buf() {
                Ok(part) => part,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = part.iter().position(|byte| *byte == b'\n');
            let of_line = &part[..end.unwrap_or(part.len())];
            let (read, at_end) = (of_line.len() + usize::from(end.is_some()), part.is_empty());
            length = length.saturating_add(of_line.len());
            if length <= self.bound {
                line.extend_from_slice(of_line);
            } else {
                line = Vec::new();
            }
            self.input.consume(read);
            match () {
                () if at_end && length == 0 => return Ok(None),
                () if at_end || end.is_some() => break,
                () => {}
            }
        }
        Ok(Some(if length <= self.bound { Line::Whole(line) } else { Line::TooLong }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// All lines, read through a buffer of this many bytes.
    fn all(text: &str, bound: usize, buffer: usize) -> Vec<Line> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, text.as_bytes()), bound);
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    #[test]
    fn lines_do_not_depend_on_the_buffer_size() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        for buffer in 1..12 {
            let expected = [whole("12345"), whole(""), Line::TooLong, whole("ab"), Line::TooLong];
            assert_eq!(all("12345\n\n123456\nab\n1234567", 5, buffer), expected, "{buffer}");
            assert_eq!(all("12\n345", 5, buffer), [whole("12"), whole("345")], "{buffer}");
            assert!(all("", 5, buffer).is_empty());
        }
    }
}
