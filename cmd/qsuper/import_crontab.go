package main

import (
	"os/user"

	"github.com/spf13/cobra"

	"qsuper/migrate/crontab"
)

func newImportCrontabCmd(a *app) *cobra.Command {
	var o importOptions
	var form, name string
	cmd := &cobra.Command{
		Use:   "crontab FILE…",
		Short: "Convert lines of cron",
		Long: "Reads tables as `crontab -l` prints them (- is standard input) or as they are in /etc/cron.d,\n" +
			"and writes a job for each line; one that keeps a known worker running becomes a consumer." + importExits,
		Example: "  crontab -l | qsuper import crontab - -o qsuper.yaml",
		Args:    args(1, -1),
		RunE: func(_ *cobra.Command, files []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if form != "" && form != string(crontab.System) && form != string(crontab.Personal) {
				return usage("give system or personal", "cannot use %q as --form", form)
			}
			var tables []*crontab.Table
			for _, f := range files {
				who := name
				if me, err := user.Current(); f == "-" && who == "" && err == nil {
					who = me.Username
				}
				t, err := crontab.Read(f, crontab.Form(form), who)
				if err != nil {
					return &exitError{code: exitUsage, err: err}
				}
				tables = append(tables, t)
			}
			return o.finish(crontab.Convert(tables, o.mode()), a.screen())
		},
	}
	o.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&form, "form", "", "system (a user in each line) or personal (default by path and content)")
	f.StringVar(&name, "user", "", "`name` of the user whose table it is (default by path; of - yourself)")
	return cmd
}
