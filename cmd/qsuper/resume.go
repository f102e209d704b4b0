package main

import (
	"github.com/spf13/cobra"

	"qsuper/control"
)

var resumeWords = wording{doing: "resuming", done: "resumed", noun: "resume", state: "running"}

func newResumeCmd(a *app) *cobra.Command {
	return newVerbCmd(a, control.VerbResume, resumeWords, cobra.Command{
		Use:     "resume [NAME…]",
		Example: "  qsuper resume '@mail'",
		Short:   "Go on after pause",
		Long:    "Goes on after pause. Without names: all consumers.",
	})
}
