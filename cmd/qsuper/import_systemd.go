package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"qsuper/migrate/systemd"
)

func newImportSystemdCmd(a *app) *cobra.Command {
	var o importOptions
	var instances string
	cmd := &cobra.Command{
		Use:   "systemd FILE…",
		Short: "Convert systemd's services",
		Long: "Reads service units with the drop-ins beside them and writes a consumer for each. Instances\n" +
			"of a template that are numbers become slots of one consumer." + importExits,
		Example: "  qsuper import systemd /etc/systemd/system/worker@.service --instances 4",
		Args:    args(1, -1),
		RunE: func(_ *cobra.Command, files []string) error {
			if err := o.check(); err != nil {
				return err
			}
			var units []*systemd.Unit
			for _, f := range files {
				u, err := systemd.Read(f)
				if err != nil {
					return &exitError{code: exitUsage, err: err}
				}
				units = append(units, u)
			}
			return o.finish(systemd.Convert(units, systemd.Options{Mode: o.mode(), Instances: instanceNames(instances)}), a.screen())
		},
	}
	o.addFlags(cmd)
	cmd.Flags().StringVar(&instances, "instances", "", "of a template: how many, or their names with commas (default those enabled beside it)")
	return cmd
}

// instanceNames reads "4" or "mail,sms".
func instanceNames(text string) []string {
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 10000 {
		return strings.Split(text, ",")
	}
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(i + 1)
	}
	return names
}
