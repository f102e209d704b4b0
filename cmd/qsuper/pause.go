package main

import (
	"github.com/spf13/cobra"

	"qsuper/control"
)

var pauseWords = wording{doing: "pausing", done: "paused", noun: "pause", state: "gone"}

func newPauseCmd(a *app) *cobra.Command {
	return newVerbCmd(a, control.VerbPause, pauseWords, cobra.Command{
		Use:     "pause [NAME…]",
		Example: "  qsuper pause '@mail' --wait",
		Short:   "Finish what runs, start nothing more",
		Long:    "What runs finishes its message and exits; nothing is started until resume.\nWithout names: all consumers.",
	})
}
