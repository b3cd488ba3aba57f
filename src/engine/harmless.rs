//! Texts of other people (names, messages of servers, webhooks, controllers and containers) on their way to a status, an event, a log or
//! a terminal: what could forge a line, move a cursor or turn the direction of reading round is made visible.

/// What stands for a character that was taken out.
const REPLACED: char = '\u{fffd}';

/// A text without control characters, line breaks and tabs excepted, and without the marks that turn the direction of reading round.
pub fn text(text: &str) -> String {
    made(text, |c| c == '\n' || c == '\t')
}

/// The same as one line.
pub fn line(text: &str) -> String {
    made(text, |c| c == '\t')
}

fn made(text: &str, stays: impl Fn(char) -> bool) -> String {
    text.chars().map(|c| if is_harmful(c) && !stays(c) { REPLACED } else { c }).collect()
}

/// Whether a character moves a cursor, ends a line or turns text round.
pub fn is_harmful(c: char) -> bool {
    // Beside the control characters: line and paragraph separators, and what reorders the text around it.
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_forges_a_line_or_turns_text_round_is_made_visible() {
        assert_eq!(text("a\u{1b}[2J\u{7}b\n\tc\u{9b}d\u{7f}\r"), "a\u{fffd}[2J\u{fffd}b\n\tc\u{fffd}d\u{fffd}\u{fffd}");
        assert_eq!(line("a\nINFO forged\tx"), "a\u{fffd}INFO forged\tx");
        assert_eq!(line("x\u{202e}y\u{2066}z\u{2028}"), "x\u{fffd}y\u{fffd}z\u{fffd}");
        assert_eq!(line("Grüße, 世界 👋"), "Grüße, 世界 👋");
    }
}
