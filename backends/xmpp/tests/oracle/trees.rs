//! What a reader made of a document: every first-level element as one text that two readers can be compared by.

/// A first-level element: expanded names, attributes in order of their names, character data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// With the character data of each element in one piece.
    pub flat: String,
    /// Also with the place of each child in that text.
    pub placed: String,
}

/// One attribute: namespace, local name, value.
pub type Attribute = (String, String, String);

#[derive(Default)]
struct Open {
    head: String,
    text: String,
    flat: String,
    placed: String,
}

/// Makes shapes of what a reader tells in order. Not recursive, so that depth costs nothing but memory.
#[derive(Default)]
pub struct Builder {
    open: Vec<Open>,
    inside_stream: bool,
    pub shapes: Vec<Shape>,
}

impl Builder {
    /// For a reader that begins at a first-level element.
    pub fn inside() -> Self {
        Self { inside_stream: true, ..Self::default() }
    }

    pub fn start(&mut self, namespace: &str, local: &str, mut attributes: Vec<Attribute>) {
        if !self.inside_stream {
            self.inside_stream = true;
            return;
        }
        attributes.sort();
        let head = format!("{namespace:?} {local:?} {attributes:?}");
        self.open.push(Open { head, ..Open::default() });
    }

    pub fn text(&mut self, text: &str) {
        if let Some(open) = self.open.last_mut() {
            open.text.push_str(text);
        }
    }

    pub fn end(&mut self) {
        let Some(done) = self.open.pop() else { return };
        let flat = format!("<{} {:?} {}>", done.head, done.text, done.flat);
        let placed = format!("<{} {:?} {}>", done.head, done.text, done.placed);
        match self.open.last_mut() {
            Some(parent) => {
                parent.flat.push_str(&flat);
                let place = format!("{}:{placed}", parent.text.len());
                parent.placed.push_str(&place);
            }
            None => self.shapes.push(Shape { flat, placed }),
        }
    }
}

/// What a reader said of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The first-level elements that ended, in order.
    pub shapes: Vec<Shape>,
    /// Well-formed, and nothing is missing at its end.
    pub whole: bool,
    /// It holds what RFC 6120 §11.1 forbids although XML allows it.
    pub restricted: bool,
}
