// Package library holds the shipped playbooks: NAME.yaml, and beside each NAME.txtar, its story; life/NAME.txtar, what happened on a
// real host; covers/SYSTEM.yaml, the names that other systems give to troubles.
package library

import "embed"

// FS holds the playbooks and the names, not the stories. The pattern would not compile while there is no playbook.
//
//go:embed *.yaml covers/*.yaml
var FS embed.FS
