// Command qsuper runs fleets of message-queue consumers.
//
// Each command is one file: newXCmd makes the cobra.Command, runX does the work
// and knows nothing of cobra. Commands talk to a running daemon only through
// control.Client.
package main

import (
	"context"
	"os"
	_ "time/tzdata" // `timezone` must work on hosts without zone files

	"qsuper/keeper"
	"qsuper/proc"
)

func main() {
	proc.HelperMain() // returns at once unless this is the start of a consumer
	keeper.EscortMain()
	os.Exit(newApp(os.Stdout, os.Stderr, os.Getenv).execute(context.Background(), os.Args[1:]))
}
