// Package library holds the shipped playbooks: NAME.yaml, and beside each NAME.txtar, its story.
package library

import "embed"

// FS holds the playbooks, not their stories. The pattern would not compile while there is no playbook.
//
//go:embed *.yaml
var FS embed.FS
