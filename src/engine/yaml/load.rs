//! Builds the JSON value of one document from the events of the YAML parser, with the line of each part.
//!
//! Values are read as Go's `sigs.k8s.io/yaml` reads them ([`super::scalar`]); merge keys are applied where they stand,
//! as Go does.
//! Nothing recurses, and what aliases copy is counted before it is copied.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{self as granit, Event, Parser, ScalarStyle};

use super::Span;
use super::budget::Budget;
use super::frame::{Content, Frame, Key, Role, merge_sources};
use super::lines::{Lines, PathHash};
use super::message;
use super::scalar::{self, Tag};
use super::split::Chunk;

/// A complaint at a line of the source.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) line: u32,
    /// In characters, from 1, where it is known.
    pub(super) column: Option<u32>,
    pub(super) message: String,
}

/// A document that was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) value: Value,
    /// Where the value begins.
    pub(super) line: u32,
    pub(super) lines: Lines,
}

/// Reads one document; `None` when it holds nothing or null. Mistakes that leave the structure clear are collected, a
/// mistake of the syntax is the last.
///
/// With `spans`, the places of all keys and scalars are kept beside those of the annotations.
pub(super) fn load(chunk: &Chunk<'_>, budget: &mut Budget<'_>, spans: bool) -> Result<Option<Loaded>, Vec<Mistake>> {
    let mut loader = Loader {
        chunk,
        budget,
        frames: Vec::new(),
        anchors: BTreeMap::new(),
        lines: Lines::new(spans),
        root: None,
        mistakes: Vec::new(),
    };
    if let Err(mistake) = loader.run() {
        loader.mistakes.push(mistake);
    }
    if !loader.mistakes.is_empty() {
        return Err(loader.mistakes);
    }
    let lines = loader.lines.finish();
    Ok(loader.root.filter(|(value, _)| !value.is_null()).map(|(value, line)| Loaded { value, line, lines }))
}

/// After so many mistakes in one document the rest of it is not read.
const MISTAKES_PER_DOCUMENT: usize = 20;

struct Anchored {
    value: Value,
    nodes: usize,
    bytes: usize,
    height: usize,
}

struct Loader<'a, 'budget> {
    chunk: &'a Chunk<'a>,
    budget: &'a mut Budget<'budget>,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, Anchored>,
    lines: Lines,
    root: Option<(Value, u32)>,
    mistakes: Vec<Mistake>,
}

impl Loader<'_, '_> {
    fn run(&mut self) -> Result<(), Mistake> {
        // The own count comes first, and knows the line.
        let nesting = self.budget.depth_limit().saturating_add(8);
        let options = granit::options! {
            emit_comments: false,
            flow_nesting_limit: nesting,
            block_nesting_limit: nesting,
        };
        let mut documents = 0;
        let depth_limit = self.budget.depth_limit();
        for event in Parser::new_from_str_with_options(self.chunk.text, options) {
            let (event, span) = event.map_err(|error| Mistake {
                line: self.absolute(error.marker().line()),
                column: Some(column(error.marker())),
                message: message::syntax(error.kind(), depth_limit),
            })?;
            let line = self.absolute(span.start.line());
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
                if documents > 1 {
                    return Err(Mistake {
                        line,
                        column: None,
                        message: "a second document begins here: put `---` between them".to_owned(),
                    });
                }
            }
            let before = self.mistakes.len();
            let read = self.event(event, line, span);
            let at = |mistake: &mut Mistake| {
                if mistake.line == line {
                    mistake.column.get_or_insert(column(&span.start));
                }
            };
            self.mistakes[before..].iter_mut().for_each(at);
            read.map_err(|mut mistake| {
                at(&mut mistake);
                mistake
            })?;
            if self.mistakes.len() >= MISTAKES_PER_DOCUMENT {
                return Err(Mistake {
                    line,
                    column: None,
                    message: "too many mistakes: the rest of this document is not read".to_owned(),
                });
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, line: u32, span: granit::Span) -> Result<(), Mistake> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| Tag::named(tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref()));
                self.scalar(Scalar { text, plain: style == ScalarStyle::Plain, tag, anchor }, line, span)
            }
            Event::Alias(anchor) => self.alias(anchor, line, span),
            Event::MappingStart(_, anchor, _) => {
                let content = Content::Map { map: Map::new(), key: None, merged: BTreeSet::new() };
                self.open(content, anchor, line)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Content::List(Vec::new()), anchor, line),
            Event::MappingEnd | Event::SequenceEnd => self.close(),
            // Anchors, comments and unresolved aliases are not asked for; the ends say nothing here.
            _ => Ok(()),
        }
    }

    fn absolute(&self, line: usize) -> u32 {
        let line = u32::try_from(line.saturating_sub(1)).unwrap_or(u32::MAX);
        self.chunk.line.saturating_add(line)
    }

    fn charge(&mut self, bytes: usize, line: u32) -> Result<(), Mistake> {
        self.budget.node(bytes).map_err(|message| Mistake { line, column: None, message })
    }

    /// Whether the next node is the key of a mapping.
    fn expects_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { content: Content::Map { key: None, .. }, .. }))
    }

    /// The path and role of the next value.
    fn place(&self) -> (PathHash, Role) {
        self.frames.last().map_or((PathHash::ROOT, Role::Object), Frame::place)
    }

    fn scalar(&mut self, scalar: Scalar<'_>, line: u32, span: granit::Span) -> Result<(), Mistake> {
        self.charge(scalar.text.len(), line)?;
        let Scalar { text, plain, tag, anchor } = scalar;
        if self.expects_key() {
            let merge = text == "<<" && (plain && tag.is_none() || tag == Some(Tag::Merge));
            if anchor > 0 {
                let value = self.judged(scalar::value(text.clone(), plain, tag), line);
                self.define(anchor, &value, Size { nodes: 1, bytes: text.len(), height: 0 }, line)?;
            }
            if merge {
                self.set_key(Key::Merge, line);
                return Ok(());
            }
            match scalar::key(text, plain, tag) {
                Ok(key) => self.name_key(key, line, span),
                // The value that follows is read and dropped with the document.
                Err(error) => {
                    self.mistake(line, error.to_string());
                    self.set_key(Key::Name(String::new()), line);
                }
            }
            return Ok(());
        }
        let bytes = text.len();
        let value = self.judged(scalar::value(text, plain, tag), line);
        if anchor > 0 {
            self.define(anchor, &value, Size { nodes: 1, bytes, height: 0 }, line)?;
        }
        self.add(value, line, Some(span), 0);
        Ok(())
    }

    fn judged(&mut self, value: Result<Value, scalar::ScalarError>, line: u32) -> Value {
        value.unwrap_or_else(|error| {
            self.mistake(line, error.to_string());
            Value::Null
        })
    }

    fn mistake(&mut self, line: u32, message: String) {
        self.mistakes.push(Mistake { line, column: None, message });
    }

    fn set_key(&mut self, new: Key, line: u32) {
        if let Some(Frame { content: Content::Map { key, .. }, .. }) = self.frames.last_mut() {
            *key = Some((new, line));
        }
    }

    /// Takes a key of the innermost mapping, and complains when the mapping has it already.
    fn name_key(&mut self, name: String, line: u32, span: granit::Span) {
        let Some(Frame { content: Content::Map { map, merged, .. }, path, .. }) = self.frames.last_mut() else {
            return;
        };
        let path = path.child(&name);
        if map.contains_key(&name) && !merged.remove(&name) {
            let first = self.lines.first(path).map_or(String::new(), |first| format!(": the first is on line {first}"));
            let message = format!("duplicate key{}{first}", message::quoted_key(&name));
            self.mistake(line, message);
        } else {
            self.lines.push(path, line);
            if let Some(places) = &mut self.lines.places {
                places.keys.insert(path, visible(&span, line, self.chunk.text));
            }
        }
        self.set_key(Key::Name(name), line);
    }

    fn alias(&mut self, anchor: usize, line: u32, span: granit::Span) -> Result<(), Mistake> {
        let Some(Anchored { nodes, bytes, height, .. }) = self.anchors.get(&anchor) else {
            // The parser knows the anchor, so it belongs to a value that is still open.
            return Err(Mistake {
                line,
                column: None,
                message: "an alias stands inside of the value that it stands for".to_owned(),
            });
        };
        let limits = self.budget.copy(*nodes, *bytes).and_then(|()| self.budget.add(*nodes, *bytes));
        let height = *height;
        limits
            .and_then(|()| self.budget.depth(self.frames.len().saturating_add(height)))
            .map_err(|message| Mistake { line, column: None, message })?;
        let value = self.anchors.get(&anchor).map(|anchored| anchored.value.clone()).unwrap_or_default();
        if !self.expects_key() {
            self.add(value, line, Some(span), height);
            return Ok(());
        }
        if let Some(key) = scalar::key_of(&value) {
            self.name_key(key, line, span);
            return Ok(());
        }
        Err(Mistake { line, column: None, message: message::KEY.to_owned() })
    }

    fn open(&mut self, content: Content, anchor: usize, line: u32) -> Result<(), Mistake> {
        if self.expects_key() {
            return Err(Mistake { line, column: None, message: message::KEY.to_owned() });
        }
        let (nodes, bytes) = (self.budget.nodes, self.budget.bytes);
        self.charge(0, line)?;
        self.budget.depth(self.frames.len() + 1).map_err(|message| Mistake { line, column: None, message })?;
        let (path, role) = self.place();
        self.frames.push(Frame { content, path, role, line, anchor, nodes, bytes, height: 1 });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Mistake> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let value = match frame.content {
            Content::Map { map, .. } => Value::Object(map),
            Content::List(items) => Value::Array(items),
        };
        if frame.anchor > 0 {
            let size = Size {
                nodes: self.budget.nodes.saturating_sub(frame.nodes),
                bytes: self.budget.bytes.saturating_sub(frame.bytes),
                height: frame.height,
            };
            self.define(frame.anchor, &value, size, frame.line)?;
        }
        self.add(value, frame.line, None, frame.height);
        Ok(())
    }

    fn define(&mut self, anchor: usize, value: &Value, size: Size, line: u32) -> Result<(), Mistake> {
        let Size { nodes, bytes, height } = size;
        self.budget.copy(nodes, bytes).map_err(|message| Mistake { line, column: None, message })?;
        self.anchors.insert(anchor, Anchored { value: value.clone(), nodes, bytes, height });
        Ok(())
    }

    /// Puts a complete value in its place. `span`: of a scalar or an alias.
    fn add(&mut self, value: Value, line: u32, span: Option<granit::Span>, height: usize) {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some((value, line));
            return;
        };
        frame.height = frame.height.max(height + 1);
        match &mut frame.content {
            Content::List(items) => {
                let path = frame.path.item(items.len());
                self.lines.push(path, line);
                if let (Some(span), Some(places)) = (span, &mut self.lines.places) {
                    places.values.insert(path, visible(&span, line, self.chunk.text));
                }
                items.push(value);
            }
            Content::Map { map, key, merged } => match key.take() {
                Some((Key::Name(name), _)) => {
                    if let Some(span) = span {
                        let path = frame.path.child(&name);
                        let seen = || visible(&span, line, self.chunk.text);
                        if frame.role == Role::Annotations {
                            self.lines.annotations.insert(path, seen());
                        }
                        if let Some(places) = &mut self.lines.places {
                            places.values.insert(path, seen());
                        }
                    }
                    map.insert(name, value);
                }
                Some((Key::Merge, at)) => {
                    let Some(sources) = merge_sources(value) else {
                        let message = "a merge key `<<` needs a mapping or a list of mappings".to_owned();
                        self.mistake(at, message);
                        return;
                    };
                    for (name, value) in sources.into_iter().flatten() {
                        if !map.contains_key(&name) {
                            self.lines.push(frame.path.child(&name), at);
                            merged.insert(name.clone());
                        }
                        map.insert(name, value);
                    }
                }
                // Keys go through `set_key`: there is no value without one.
                None => {}
            },
        }
    }
}

struct Scalar<'a> {
    text: Cow<'a, str>,
    plain: bool,
    tag: Option<Tag>,
    anchor: usize,
}

#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    bytes: usize,
    height: usize,
}

fn column(marker: &granit::Marker) -> u32 {
    u32::try_from(marker.col().saturating_add(1)).unwrap_or(u32::MAX)
}

/// What an editor would underline: a value's first line.
fn visible(span: &granit::Span, line: u32, text: &str) -> Span {
    let first_line = span.slice(text).and_then(|text| text.lines().next()).unwrap_or_default();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Span { line, column: column(&span.start), length: count(first_line.trim_end().chars().count()) }
}
