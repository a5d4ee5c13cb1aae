//! Text that people read in a terminal or a browser.

/// Whether a character changes how the text around it is shown, or is itself not shown: a text with it looks like another
/// text. Control characters (a terminal takes orders in them), the ones that turn the direction of writing, and those
/// that take no room. Unicode 17, general categories Cc, Cf, Zl and Zp, and letters that are shown as nothing.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, grapheme joiner, Arabic and Mongolian marks, Hangul fillers.
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}'
            | '\u{ffa0}'
            // Zero width, left-to-right and right-to-left; lines and paragraphs; embeddings, overrides, isolates.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Byte order mark, annotations.
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            // Numbers, hieroglyphs, shorthand, music: what formats them; tags and further variations.
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_told_from_what_is() {
        for hidden in [
            '\0',
            '\n',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{2028}',
            '\u{feff}',
            '\u{e0041}',
            '\u{3164}',
            '\u{61c}',
        ] {
            assert!(is_hidden(hidden), "{hidden:?}");
        }
        for seen in "aZ 0-_é中文한글עברית العربية देवनागरी ไทย ελ жю 😀 ♥\u{fe0f} € ½ „…“".chars()
        {
            assert!(!is_hidden(seen), "{seen:?}");
        }
    }
}
