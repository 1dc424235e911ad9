//! Where a reader of all partitions stands: for each the next offset to read. As text it is a stream's `id`,
//! `0:17,1:5`. It does not know where the log begins or ends.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::problem::{Code, Problem};

/// Next offsets by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<i32, i64>);

impl Positions {
    /// The next offset of one partition.
    pub fn of(&self, partition: i32) -> Option<i64> {
        self.0.get(&partition).copied()
    }

    /// Forward only: what has been passed is not read again.
    pub(super) fn raise(&mut self, partition: i32, next: i64) {
        let own = self.0.entry(partition).or_insert(next);
        *own = next.max(*own);
    }

    /// Partitions and next offsets, by partition.
    pub fn iter(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.0.iter().map(|(partition, next)| (*partition, *next))
    }
}

impl FromIterator<(i32, i64)> for Positions {
    fn from_iter<I: IntoIterator<Item = (i32, i64)>>(all: I) -> Self {
        Positions(all.into_iter().collect())
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (partition, next)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{next}")?;
        }
        Ok(())
    }
}

impl FromStr for Positions {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Positions, Problem> {
        // Only what we write ourselves is read: no signs, no spaces. Offsets beyond 2^53 do not occur.
        let number = |text: &str| -> Option<i64> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| text.parse().ok())??;
            (number < 1 << 53).then_some(number)
        };
        let parse = || {
            let mut positions = BTreeMap::new();
            for one in text.split(',') {
                let (partition, next) = one.split_once(':')?;
                let partition = i32::try_from(number(partition)?).ok()?;
                if positions.insert(partition, number(next)?).is_some() {
                    return None;
                }
            }
            Some(Positions(positions))
        };
        parse().ok_or_else(|| Problem::new(Code::BadQuery, "positions are <partition>:<offset>,…"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0:0", "0:17,1:5", "3:9007199254740991"] {
            assert_eq!(text.parse::<Positions>().expect("it is one").to_string(), text);
        }
        assert_eq!("10:1,2:3".parse::<Positions>().expect("it is one").to_string(), "2:3,10:1");
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            ",",
            "0",
            "0:",
            ":1",
            "0:1,",
            "0:1,0:2",
            "-1:1",
            "0:-1",
            "+0:1",
            "0: 1",
            "0:1;1:2",
            "a:1",
            "0:9007199254740992",
            "2147483648:0",
            "0:99999999999999999999",
            "0:1:2",
            "٠:1",
        ] {
            let problem = text.parse::<Positions>().expect_err(text);
            assert_eq!(problem.code, Code::BadQuery, "{text}");
        }
    }

    #[test]
    fn a_position_never_goes_back() {
        let mut positions: Positions = [(0, 5)].into_iter().collect();
        positions.raise(0, 4);
        positions.raise(1, 2);
        assert_eq!(positions.to_string(), "0:5,1:2");
    }
}
