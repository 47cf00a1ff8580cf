package main

import "github.com/spf13/cobra"

func playbookCommand(*program) *cobra.Command {
	return &cobra.Command{Use: "playbook", Short: "Write, check and explain playbooks"}
}
