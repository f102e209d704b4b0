package main

import (
	"github.com/spf13/cobra"

	"qsuper/control"
)

var stopWorkersWords = wording{doing: "renewing workers of", done: "renewed", noun: "renewal", state: "renewed"}

func newStopWorkersCmd(a *app) *cobra.Command {
	return newVerbCmd(a, control.VerbStopWorkers, stopWorkersWords, cobra.Command{
		Use: "stop-workers [NAME…]",
		Example: "  qsuper stop-workers --wait\n" +
			"  qsuper stop-workers --fleet --wait orders",
		Short: "Let every instance finish its message, exit and come back",
		Long: "Every running instance finishes its message, exits, and comes back through the gates:\nnew code after a deploy. Without names: all consumers.\n\n" +
			"With --app the application's own command (app_restart; that of the framework with a preset)\n" +
			"is run first, once, so that workers which others run end as well. It is printed; qsuper\n" +
			"itself writes nothing into an application's store.",
	})
}
