//! The query part of a request's address, taken apart.

/// The pairs of `a=b&c=d`, with `%XX` and `+` decoded. A key without `=` has an empty value.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = text.as_bytes().iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        let hex =
            |rest: &[u8]| std::str::from_utf8(rest.get(..2)?).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (byte, hex(bytes.as_slice())) {
            (b'%', Some(value)) => {
                decoded.push(value);
                bytes.nth(1);
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::pairs;

    #[test]
    fn escapes_are_decoded_and_broken_ones_stay() {
        let expected = [("dryRun", "All"), ("fieldManager", "swell a/b"), ("flag", ""), ("odd", "100%")];
        let expected: Vec<_> = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(pairs("dryRun=All&fieldManager=swell+a%2Fb&flag&odd=100%"), expected);
    }
}
