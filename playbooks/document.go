package playbooks

// Document is a YAML file as this package reads all of its files: one document, within limits, without anchors, tags and merge keys, each
// piece with its place. It is for formats that belong to the language but are not of it: what an operator's site checks declare.
type Document struct {
	src  *source
	root *node
}

// ReadDocument reads a file. What is wrong with it as YAML is among its problems, and it has no root then.
func ReadDocument(f File) *Document {
	d := &Document{src: newSource(f)}
	d.root = parseYAML(d.src)
	return d
}

// Root is what the file holds; not ok if it is no YAML.
func (d *Document) Root() (n Node, ok bool) { return Node{d.root}, d.root != nil }

// Problems are all that was found wrong so far.
func (d *Document) Problems() Problems {
	list, _ := d.src.problems.err().(Problems) //nolint:errorlint // it is this type or nil
	return list
}

// Node is a piece of a Document.
type Node struct{ n *node }

// IsText reports whether the piece is a scalar: a text, number or condition, as it was written.
func (n Node) IsText() bool { return n.n.kind == scalar }

// IsMapping reports whether the piece has keys.
func (n Node) IsMapping() bool { return n.n.kind == mapping }

// IsList reports whether the piece is a list.
func (n Node) IsList() bool { return n.n.kind == sequence }

// What names the kind of piece for an author: "a text", "a mapping".
func (n Node) What() string { return n.n.kind.String() }

// Text is a scalar's text.
func (n Node) Text() string { return n.n.text }

// Len is how many entries a mapping has, or items a list.
func (n Node) Len() int { return len(n.n.items) }

// Key is the key of a mapping's entry i.
func (n Node) Key(i int) Node { return Node{n.n.keys[i]} }

// Item is the value of a mapping's entry i, or a list's item.
func (n Node) Item(i int) Node { return Node{n.n.items[i]} }

// Get is the value under a key.
func (n Node) Get(key string) (Node, bool) {
	v := n.n.get(key)
	return Node{v}, v != nil
}

// Errorf records what is wrong with the piece.
func (n Node) Errorf(format string, args ...any) { n.n.errorf(format, args...) }

// DidYouMean is `; did you mean "x"?` with the nearest of the candidates, or which there are, if few.
func DidYouMean(name string, candidates []string) string { return didYouMean(name, candidates) }
