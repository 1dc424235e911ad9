//! Changing one place of a JSON text and no other byte of it: what a plugin's json-set and json-remove do.
//! It trusts its input to have been parsed and does not check the value it sets: the result is parsed anew.

use std::ops::Range;

use super::document::{Pointer, locate, place, skip_blanks};

/// Why an edit has no place to happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// Only the last step may be new: the object or array it goes into must exist.
    #[error("there is no object or array to hold {pointer}")]
    NoParent { pointer: String },
    /// An array takes its existing indices, its length, or `-` for one past the end.
    #[error("{pointer} is no index of its array")]
    BadIndex { pointer: String },
    /// There is nothing to remove.
    #[error("there is nothing at {pointer}")]
    Absent { pointer: String },
}

/// Sets what `pointer` leads to, replacing a value or adding a last member or element.
pub fn json_set(bytes: &[u8], pointer: &Pointer, value: &[u8]) -> Result<Vec<u8>, SpliceError> {
    if let Some(range) = locate(bytes, pointer) {
        return Ok(replaced(bytes, range, &[value]));
    }
    let parent = parent(bytes, pointer).ok_or_else(|| no_parent(pointer))?;
    let token = pointer.tokens().last().ok_or_else(|| no_parent(pointer))?;
    let close = parent.end - 1;
    let is_empty = skip_blanks(bytes, parent.start + 1) == close;
    let comma: &[u8] = if is_empty { b"" } else { b"," };
    match bytes[parent.start] {
        b'{' => {
            let key = serde_json::to_vec(&token.name).map_err(|_| no_parent(pointer))?;
            Ok(replaced(bytes, close..close, &[comma, &key, b":", value]))
        }
        b'[' if token.name == "-" || appends(bytes, &parent, token.index) => {
            Ok(replaced(bytes, close..close, &[comma, value]))
        }
        b'[' => Err(SpliceError::BadIndex { pointer: pointer.to_string() }),
        _ => Err(no_parent(pointer)),
    }
}

/// Removes the member or element `pointer` leads to, and the comma that separated it.
pub fn json_remove(bytes: &[u8], pointer: &Pointer) -> Result<Vec<u8>, SpliceError> {
    let absent = || SpliceError::Absent { pointer: pointer.to_string() };
    let parent = parent(bytes, pointer).ok_or_else(absent)?;
    let token = pointer.tokens().last().ok_or_else(absent)?;
    let place = place(bytes, parent.start, token).ok_or_else(absent)?;
    let after = skip_blanks(bytes, place.value.end);
    let range = if bytes[after] == b',' {
        place.start..skip_blanks(bytes, after + 1)
    } else {
        // The last one takes the comma before it along, if it is not the only one.
        let kept = bytes[..place.start].trim_ascii_end();
        kept.strip_suffix(b",").map_or(place.start, <[u8]>::len)..place.value.end
    };
    Ok(replaced(bytes, range, &[]))
}

/// The container that holds, or would hold, the pointer's last step.
fn parent(bytes: &[u8], pointer: &Pointer) -> Option<Range<usize>> {
    locate(bytes, &pointer.parent()?)
}

/// Whether `index` is one past the last element of an array.
fn appends(bytes: &[u8], array: &Range<usize>, index: Option<usize>) -> bool {
    let Some(index) = index else { return false };
    let elements = super::document::elements(&bytes[array.clone()], usize::MAX);
    elements.count() == index
}

fn no_parent(pointer: &Pointer) -> SpliceError {
    SpliceError::NoParent { pointer: pointer.to_string() }
}

fn replaced(bytes: &[u8], range: Range<usize>, with: &[&[u8]]) -> Vec<u8> {
    let added: usize = with.iter().map(|part| part.len()).sum();
    let mut result = Vec::with_capacity(bytes.len() - range.len() + added);
    result.extend_from_slice(&bytes[..range.start]);
    with.iter().for_each(|part| result.extend_from_slice(part));
    result.extend_from_slice(&bytes[range.end..]);
    result
}

#[cfg(test)]
mod tests;
