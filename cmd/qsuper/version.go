package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionInfo is what `version --json` prints. It comes from what the Go
// toolchain notes in each binary, so no build has to pass it in.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"` // of the commit
	Modified bool   `json:"modified"`       // built from a tree with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Example:           "  qsuper version --json",
		Short:             "Print version and build",
		Args:              args(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			out, v := a.screen(), readVersion()
			if out.json {
				return printJSON(out, v)
			}
			out.printf("qsuper %s", v.Version)
			if v.Commit != "" {
				out.printf(" (commit %.12s of %s)", v.Commit, v.Time)
			}
			if v.Modified {
				out.printf(", with local changes")
			}
			out.printf(", %s, %s\n", v.Go, v.Platform)
			return nil
		},
	}
}

// release is set when a release is linked.
var release string

func readVersion() versionInfo {
	v := versionInfo{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	switch {
	case release != "":
		v.Version = release
	case info.Main.Version != "":
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// version is the version alone, for the daemon's status.
func version() string { return readVersion().Version }
