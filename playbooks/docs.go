package playbooks

// The pieces of the JSON Schema that the table of keys refers to.
func schemaString() any             { return map[string]any{"type": "string"} }
func schemaObject() any             { return map[string]any{"type": "object"} }
func schemaRef(name string) any     { return map[string]any{"$ref": "#/$defs/" + name} }
func schemaEnum(names []string) any { return map[string]any{"type": "string", "enum": names} }
func schemaPattern(p string) any    { return map[string]any{"type": "string", "pattern": p} }
func schemaStrings() any {
	return map[string]any{"type": "array", "items": schemaString(), "minItems": 1, "uniqueItems": true}
}
