//! Brackets outside strings, 64 bytes at a time: what framing needs to know of a JSON text and no more. The bit
//! arithmetic is simdjson's (Langdale and Lemire, "Parsing Gigabytes of JSON per Second", §3.1).

use wide::u8x16;

/// The bytes of one block.
pub(super) const BLOCK: usize = 64;

/// Where brackets open and close in one block, outside strings: bit `n` is byte `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Brackets {
    pub(super) opens: u64,
    pub(super) closes: u64,
}

/// What one block leaves to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scanner {
    /// All ones inside a string.
    in_string: u64,
    /// Whether the first byte is escaped.
    escaped: bool,
}

impl Scanner {
    /// Reads the next block.
    pub(super) fn next(&mut self, block: &[u8; BLOCK]) -> Brackets {
        let lanes = block.as_chunks::<16>().0;
        let mask = |is: &dyn Fn(u8x16) -> u8x16| {
            lanes
                .iter()
                .rev()
                .fold(0, |mask, lane| mask << 16 | u64::from(is(u8x16::from(*lane)).to_bitmask()))
        };
        let equal = |byte: u8| mask(&|lane| lane.simd_eq(u8x16::splat(byte)));
        // `[` and `{`, and `]` and `}`, differ in one bit.
        let bracket = |byte: u8| mask(&|lane| (lane | u8x16::splat(0x20)).simd_eq(u8x16::splat(byte)));
        let quotes = equal(b'"') & !self.escapes(equal(b'\\'));
        let inside = parities(quotes) ^ self.in_string;
        self.in_string = if inside >> 63 == 1 { u64::MAX } else { 0 };
        Brackets { opens: bracket(b'{') & !inside, closes: bracket(b'}') & !inside }
    }

    /// The bytes that an odd run of backslashes stands before.
    fn escapes(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        if backslashes == 0 {
            return u64::from(std::mem::take(&mut self.escaped));
        }
        let carried = u64::from(self.escaped);
        let backslashes = backslashes & !carried;
        let follows = backslashes << 1 | carried;
        let odd_starts = backslashes & !EVEN & !follows;
        let (even_sequences, carries) = odd_starts.overflowing_add(backslashes);
        self.escaped = carries;
        (EVEN ^ (even_sequences << 1)) & follows
    }
}

/// Bit `n` is the parity of bits `0..=n`.
fn parities(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, byte by byte.
    fn one_by_one(bytes: &[u8]) -> Vec<Brackets> {
        let (mut in_string, mut escaped) = (false, false);
        let mut block = |bytes: &[u8]| {
            let mut brackets = Brackets { opens: 0, closes: 0 };
            for (at, byte) in bytes.iter().enumerate() {
                let was_escaped = std::mem::take(&mut escaped);
                match byte {
                    b'\\' => escaped = !was_escaped,
                    b'"' if !was_escaped => in_string = !in_string,
                    b'{' | b'[' if !in_string => brackets.opens |= 1 << at,
                    b'}' | b']' if !in_string => brackets.closes |= 1 << at,
                    _ => {}
                }
            }
            brackets
        };
        bytes.chunks(BLOCK).map(&mut block).collect()
    }

    proptest! {
        #[test]
        fn blocks_are_read_as_bytes_are(bytes in prop::collection::vec(prop::sample::select(br#""\\\{}[]a "#.to_vec()), 4 * BLOCK)) {
            let mut scanner = Scanner::default();
            let read: Vec<_> = bytes.as_chunks::<BLOCK>().0.iter().map(|block| scanner.next(block)).collect();
            prop_assert_eq!(read, one_by_one(&bytes));
        }
    }
}
