package main

import (
	"github.com/spf13/cobra"

	"qsuper/migrate/supervisor"
)

func newImportSupervisorCmd(a *app) *cobra.Command {
	var o importOptions
	freeze := false
	cmd := &cobra.Command{
		Use:   "supervisor FILE…",
		Short: "Convert Supervisor's programs",
		Long: "Reads supervisord.conf with what it includes, or files of a conf.d alone, as Supervisor 4.2\n" +
			"does, and writes a consumer for each program. %(ENV_X)s becomes ${X}, which qsuper fills in\n" +
			"when it loads the file." + importExits,
		Example: "  qsuper import supervisor /etc/supervisor/supervisord.conf -o qsuper.yaml --verify",
		Args:    args(1, -1),
		RunE: func(_ *cobra.Command, files []string) error {
			if err := o.check(); err != nil {
				return err
			}
			cfg, err := supervisor.Read(files, supervisor.Options{FreezeEnv: freeze})
			if err != nil {
				return &exitError{code: exitUsage, err: err, hint: "Supervisor would not read it either; repair it first"}
			}
			o.lookup = cfg.LookupEnv
			return o.finish(supervisor.Convert(cfg, supervisor.ConvertOptions{Mode: o.mode()}), a.screen())
		},
	}
	o.addFlags(cmd)
	cmd.Flags().BoolVar(&freeze, "freeze-env", false, "write what %(ENV_X)s is now instead of ${X}")
	return cmd
}
