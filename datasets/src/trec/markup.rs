//! TREC's markup: documents between `<DOC>` and `</DOC>`, topics between `<top>` and `</top>`, and topics as lines
//! `id <tab> text`.
//!
//! This is not XML: tags need not be closed (`<num> Number: 301`), `&` is bare, and anything may stand in a text. A tag
//! here is `<`, a letter or `/`, and everything up to the next `>` on the same line.

use std::path::Path;

use memchr::memmem;

use crate::collection::{Document, Query};
use crate::error::{Error, Result, quoted};
use crate::text::{lines, utf8, without_mark};

/// The documents of a file with `<DOC>` markup. The id is `<DOCNO>`; the title is `<TITLE>`, `<HEADLINE>` or `<TI>`
/// where there is one; the text is everything else, tags taken out.
///
/// # Errors
/// No document at all, a document without an id or without its end, or text that is not UTF-8.
pub fn parse_documents(bytes: &[u8], name: &Path) -> Result<Vec<Document>> {
    let text = utf8(without_mark(bytes), name, 1)?;
    blocks(text, "<DOC>", "</DOC>", name)?.into_iter().map(|block| block.document(name)).collect()
}

/// The topics of a file: `<top>` markup, `<DOC>` markup used for topics (CACM), or lines of `id`, a tab or a blank,
/// and a text. The query's text is the title, or the description where there is no title.
///
/// # Errors
/// No topic at all, a topic without an id or without its end, or text that is not UTF-8.
pub fn parse_topics(bytes: &[u8], name: &Path) -> Result<Vec<Query>> {
    let bytes = without_mark(bytes);
    let text = utf8(bytes, name, 1)?;
    let start = text.trim_start();
    if starts_with_tag(start, "<top>") {
        return blocks(text, "<top>", "</top>", name)?.into_iter().map(|block| block.topic(name)).collect();
    }
    if starts_with_tag(start, "<DOC>") {
        let documents = parse_documents(bytes, name)?;
        let topic = |d: Document| Query { text: one_line(&d.full_text()), id: d.id };
        return Ok(documents.into_iter().map(topic).collect());
    }
    let topics: Result<Vec<_>> = lines(bytes)
        .filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace))
        .map(|(number, line)| topic_line(utf8(line, name, number)?, name, number))
        .collect();
    match topics {
        Ok(topics) if topics.is_empty() => Err(Error::malformed(name, 1, "topics", "no lines at all")),
        topics => topics,
    }
}

fn topic_line(line: &str, path: &Path, number: u64) -> Result<Query> {
    let halves = line.split_once('\t').or_else(|| line.trim_start().split_once(' '));
    match halves.map(|(id, text)| (id.trim(), text.trim())) {
        Some((id, text)) if !id.is_empty() && !text.is_empty() => {
            Ok(Query { id: id.to_owned(), text: text.to_owned() })
        }
        _ => Err(Error::malformed(path, number, "a topic: an id, a tab and a text", quoted(line))),
    }
}

fn starts_with_tag(text: &str, tag: &str) -> bool {
    text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag))
}

/// What stands between a pair of outer tags, and the line the first of them is on.
struct Block<'a> {
    inside: &'a str,
    line: u64,
}

/// The blocks of `text`. Tags are looked for as given and in the other case.
fn blocks<'a>(text: &'a str, open: &str, close: &str, path: &Path) -> Result<Vec<Block<'a>>> {
    let as_given = memmem::find(text.as_bytes(), open.as_bytes()).is_some();
    let other =
        |tag: &str| match tag.as_bytes()[1].is_ascii_uppercase() || tag.as_bytes()[2].is_ascii_uppercase() {
            true => tag.to_ascii_lowercase(),
            false => tag.to_ascii_uppercase(),
        };
    let (open, close) =
        if as_given { (open.to_owned(), close.to_owned()) } else { (other(open), other(close)) };
    let mut blocks = Vec::new();
    let (mut at, mut line) = (0, 1);
    let count =
        |from: usize, to: usize| memchr::memchr_iter(b'\n', &text.as_bytes()[from..to]).count() as u64;
    while let Some(found) = memmem::find(&text.as_bytes()[at..], open.as_bytes()) {
        line += count(at, at + found);
        let start = at + found + open.len();
        let Some(length) = memmem::find(&text.as_bytes()[start..], close.as_bytes()) else {
            return Err(Error::malformed(
                path,
                line,
                format!("{open} to end with {close}"),
                "the end of the file",
            ));
        };
        let inside = &text[start..start + length];
        if let Some(nested) = memmem::find(inside.as_bytes(), open.as_bytes()) {
            let nested_line = line + count(start, start + nested);
            return Err(Error::malformed(path, nested_line, format!("{close} before the next {open}"), open));
        }
        blocks.push(Block { inside, line });
        line += count(start, start + length);
        at = start + length;
    }
    if blocks.is_empty() {
        return Err(Error::malformed(path, 1, format!("{open} ... {close}"), "none in the whole file"));
    }
    Ok(blocks)
}

impl<'a> Block<'a> {
    /// What follows the tag `name` up to the next tag, and what follows that.
    fn field(&self, name: &str) -> Option<&'a str> {
        let start = tags(self.inside).find(|tag| tag.name.eq_ignore_ascii_case(name))?.end;
        let end = tags(&self.inside[start..]).next().map_or(self.inside.len(), |tag| start + tag.start);
        Some(self.inside[start..end].trim())
    }

    fn malformed(&self, path: &Path, expected: &str) -> Error {
        let shown = self.inside.trim().lines().next().unwrap_or_default();
        Error::malformed(path, self.line, expected, quoted(shown))
    }

    fn document(&self, path: &Path) -> Result<Document> {
        let id = self.field("DOCNO").filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| self.malformed(path, "a <DOCNO> with the document's id"))?;
        const TITLES: [&str; 3] = ["TITLE", "HEADLINE", "TI"];
        let title = TITLES.iter().find_map(|name| self.field(name).filter(|title| !title.is_empty()));
        let text = self.without(&["DOCNO", "TITLE", "HEADLINE", "TI"]);
        let title = title.map(one_line).unwrap_or_default();
        Ok(Document { id: id.to_owned(), title, text, metadata: None })
    }

    /// The text with tags taken out, and with what stands in the `dropped` elements taken out too.
    fn without(&self, dropped: &[&str]) -> String {
        let mut text = String::with_capacity(self.inside.len());
        let (mut at, mut keep) = (0, true);
        for tag in tags(self.inside) {
            if keep {
                text.push_str(&self.inside[at..tag.start]);
            }
            keep =
                tag.name.starts_with('/') || !dropped.iter().any(|name| tag.name.eq_ignore_ascii_case(name));
            at = tag.end;
        }
        if keep {
            text.push_str(&self.inside[at..]);
        }
        unescape(text.trim())
    }

    fn topic(&self, path: &Path) -> Result<Query> {
        let id = self.field("num").map(|num| num.trim_start_matches("Number:").trim());
        let id = id.filter(|id| !id.is_empty()).and_then(|id| id.split_whitespace().next());
        let id = id.ok_or_else(|| self.malformed(path, "a <num> with the topic's id"))?;
        let field = |name, label| self.field(name).map(|text| text.trim_start_matches(label).trim());
        let title = field("title", "Topic:").filter(|title| !title.is_empty());
        let text = title.or_else(|| field("desc", "Description:").filter(|text| !text.is_empty()));
        let text = text.ok_or_else(|| self.malformed(path, "a <title> or a <desc> with the topic's text"))?;
        Ok(Query { id: id.to_owned(), text: one_line(&unescape(text)) })
    }
}

/// A tag of a text: where it stands, and its name (`/` first when it closes).
struct Tag<'a> {
    start: usize,
    end: usize,
    name: &'a str,
}

fn tags(text: &str) -> impl Iterator<Item = Tag<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + memchr::memchr(b'<', &text.as_bytes()[at..])?;
            at = start + 1;
            let first = *text.as_bytes().get(at)?;
            if !first.is_ascii_alphabetic() && first != b'/' && first != b'!' {
                continue;
            }
            let end = memchr::memchr3(b'>', b'\n', b'<', &text.as_bytes()[at..]).map(|length| at + length);
            let Some(end) = end.filter(|&end| text.as_bytes()[end] == b'>') else { continue };
            let inside = &text[at..end];
            at = end + 1;
            let name = inside.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
            return Some(Tag { start, end: at, name });
        }
    })
}

/// The text of a page of markup (CACM's documents are small HTML pages): tags taken out, the usual entities
/// resolved, blanks at both ends taken off.
pub fn text_of_markup(page: &str) -> String {
    Block { inside: page, line: 1 }.without(&[])
}

/// The five entities that markup needs, resolved; everything else stays as it is.
fn unescape(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&nbsp;", " "), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// `text` with every stretch of white space as one blank.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(text: &str) -> Vec<(String, String)> {
        let topics = parse_topics(text.as_bytes(), Path::new("topics")).unwrap();
        topics.into_iter().map(|topic| (topic.id, topic.text)).collect()
    }

    fn documents(text: &str) -> Result<Vec<Document>> {
        parse_documents(text.as_bytes(), Path::new("docs"))
    }

    fn pair(id: &str, text: &str) -> (String, String) {
        (id.to_owned(), text.to_owned())
    }

    #[test]
    fn a_document_is_its_id_its_title_and_the_rest_without_tags() {
        let text = "<DOC>\n<DOCNO> FR-1 </DOCNO>\n<TITLE>On\nwings</TITLE><TEXT>\na < b &amp; <b>bold</b> x<y\n</TEXT>\n</DOC>\n\
                    <DOC><DOCNO>2</DOCNO>plain</DOC>";
        let found = documents(text).unwrap();
        assert_eq!((found[0].id.as_str(), found[0].title.as_str()), ("FR-1", "On wings"));
        assert_eq!(found[0].text, "a < b & bold x<y");
        assert_eq!((found[1].id.as_str(), found[1].text.as_str()), ("2", "plain"));
    }

    #[test]
    fn topics_come_in_four_dresses() {
        let classic = "<top>\n<num> Number: 301\n<title> International Organized\nCrime\n\n<desc> Description:\nX\n</top>";
        assert_eq!(topics(classic), [pair("301", "International Organized Crime")]);
        let closed = "<top>\n<num>1</num><title>\nMEASUREMENT OF\n</title>\n</top>\n<top><num>2</num><desc>D</desc></top>";
        assert_eq!(topics(closed), [pair("1", "MEASUREMENT OF"), pair("2", "D")]);
        assert_eq!(topics("<DOC>\n<DOCNO> 7 </DOCNO>\n\n what\nis\n</DOC>"), [pair("7", "what is")]);
        assert_eq!(topics("19\ta b\n\n20 c d\n"), [pair("19", "a b"), pair("20", "c d")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let said = |text: &str| documents(text).unwrap_err().to_string();
        assert_eq!(
            said("x\n<DOC>\nno id\n</DOC>"),
            "docs:2: expected a <DOCNO> with the document's id, found \"no id\""
        );
        assert_eq!(
            said("\n\n<DOC><DOCNO>1</DOCNO>"),
            "docs:3: expected <DOC> to end with </DOC>, found the end of the file"
        );
        let nested = "<DOC>\n<DOCNO>1</DOCNO>\n<DOC>\n</DOC>";
        assert_eq!(said(nested), "docs:3: expected </DOC> before the next <DOC>, found <DOC>");
        assert!(said("nothing").contains("none in the whole file"));
        let topic = |text: &str| parse_topics(text.as_bytes(), Path::new("t")).unwrap_err().to_string();
        assert!(topic("alone\n").starts_with("t:1: expected a topic"));
        assert!(topic("").starts_with("t:1: expected topics"));
        assert!(topic("<top>\n<title>x</top>").starts_with("t:1: expected a <num>"));
    }
}
