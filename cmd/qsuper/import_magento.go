package main

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"qsuper/migrate/magento"
)

func newImportMagentoCmd(a *app) *cobra.Command {
	var o importOptions
	var read magento.Options
	var list string
	cmd := &cobra.Command{
		Use:   "magento FILE",
		Short: "Convert what Magento's cron starts",
		Long: "Reads app/etc/env.php (by PHP where it is installed, which runs the file), a directory of\n" +
			"Magento, or .magento.env.yaml, and writes a consumer with the preset magento for each that\n" +
			"cron_consumers_runner starts. Passwords are not written; they come from the environment." + importExits,
		Example: "  qsuper import magento /var/www/magento -o /etc/qsuper/qsuper.yaml\n" +
			"  bin/magento queue:consumers:list | qsuper import magento app/etc/env.php --list -",
		Args: args(1, 1),
		RunE: func(_ *cobra.Command, files []string) error {
			if err := o.check(); err != nil {
				return err
			}
			names, err := consumerList(list)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			shop, err := magento.Read(files[0], read)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			o.lookup = withPasswords
			return o.finish(magento.Convert(shop, names, o.mode()), a.screen())
		},
	}
	o.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&read.Root, "root", "", "`directory` of Magento (default by the place of env.php)")
	f.BoolVar(&read.NoPHP, "no-php", false, "do not let PHP read env.php: it must be a plain array then")
	f.StringVar(&list, "list", "", "`file` with names of consumers, one a line, - for standard input (default those of the modules)")
	return cmd
}

// withPasswords lets a file load whose passwords are not set here.
func withPasswords(name string) (string, bool) {
	if value, ok := os.LookupEnv(name); ok {
		return value, true
	}
	return "x", name == magento.DBPassword || name == magento.AMQPPassword
}

// consumerList reads names, one a line; a listing's bullets are left out.
func consumerList(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	in := io.Reader(os.Stdin)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var names []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.Fields(strings.TrimLeft(lines.Text(), " \t-*"))
		if len(words) == 1 && !slices.Contains(names, words[0]) {
			names = append(names, words[0])
		}
	}
	return names, lines.Err()
}
