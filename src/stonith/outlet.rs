//! What a switch says of the outlet that it is about to switch.

/// Words before the number of an outlet, in lower case.
const WORDS: [&str; 2] = ["outlet", "plug"];

/// The first outlet that the text names and that is none of these: `outlet 3`, `Plug(s): 3`, `Outlet #3`.
/// A text that names none is no contradiction: many switches do not.
pub fn other_than(wanted: &[u32], text: &str) -> Option<u32> {
    let text = text.to_ascii_lowercase();
    let named =
        WORDS.iter().flat_map(|word| text.match_indices(word).map(|(at, _)| &text[at + word.len()..]));
    let numbers = named.filter_map(|rest| {
        let rest = rest.strip_prefix("(s)").or_else(|| rest.strip_prefix('s')).unwrap_or(rest);
        let rest = rest.trim_start_matches([' ', '\t', ':', '#']);
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok()
    });
    numbers.into_iter().find(|number| !wanted.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_behind_the_words() {
        for text in
            ["Reboot outlet 3 (Y/N)", "Boot Plug(s): 3", "OUTLETS 3", "outlet #3,", "outlet 2, plug 3"]
        {
            assert_eq!(other_than(&[2], text), Some(3), "{text}");
            assert_eq!(other_than(&[2, 3], text), None, "{text}");
        }
        for text in ["", "outlet", "plug | name", "outlet node3", "3 outlet", "plug 99999999999", "outlet 2"]
        {
            assert_eq!(other_than(&[2], text), None, "{text}");
        }
    }
}
