// Package library holds the shipped playbooks: NAME.yaml, and beside each NAME.txtar, its story; life/NAME.txtar, what happened on a
// real host; covers/SYSTEM.yaml, the names that other systems give to troubles; profiles/, which of them are asked for together.
package library

import "embed"

// FS holds the playbooks and the names, not the stories. The pattern would not compile while there is no playbook.
//
//go:embed *.yaml covers/*.yaml profiles/*.yaml
var FS embed.FS
