//! Whether two patterns with `*` can fit the same text.
//!
//! Not matching itself, which is `route`'s; this only tells when two routes contend.

/// Whether some text fits both patterns; `*` stands for any text, also none.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // fits[j]: whether the rest of `a` at hand and `b[j..]` share a text.
    let mut fits = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let below = std::mem::replace(&mut fits, vec![false; b.len() + 1]);
        for j in (0..=b.len()).rev() {
            fits[j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some(b'*'), _) if below[j] => true,
                (Some(b'*'), Some(_)) | (_, Some(b'*')) if j < b.len() && fits[j + 1] => true,
                (Some(_), Some(b'*')) => below[j],
                (Some(x), Some(y)) => x == y && below[j + 1],
                _ => false,
            };
        }
    }
    fits[0]
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn patterns_overlap_where_one_text_fits_both() {
        for (a, b, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a", "a", true),
            ("a", "b", false),
            ("a*", "*b", true),
            ("com.github.*", "com.github.push", true),
            ("com.github.*", "com.gitlab.*", false),
            ("*.created", "order.*", true),
            ("*.created", "order.deleted", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("https://*/x", "https://github.com/*", true),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} {b}");
            assert_eq!(overlap(b, a), expected, "{b} {a}");
        }
    }
}
