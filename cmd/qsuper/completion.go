package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"qsuper/control"
)

// completionTimeout is what a person at a prompt does not notice.
const completionTimeout = 300 * time.Millisecond

func newCompletionCmd(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print the completion script of a shell",
		Long: "Prints a script that completes commands, flags and the names of consumers. For bash:\n\n" +
			"  qsuper completion bash >/etc/bash_completion.d/qsuper",
		Args:      args(1, 1),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
			return usage("there are "+strings.Join(shells, ", "), "no completion for %q", args[0])
		},
	}
}

// completeNames offers consumers and groups that are not on the line yet.
func (a *app) completeNames(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd.Context(), given, ""), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeOneName(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.names(cmd.Context(), nil, ""), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeScale(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd.Context(), given, "="), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// names asks the daemon; without one there is nothing to offer and nothing to say.
func (a *app) names(ctx context.Context, given []string, suffix string) []string {
	client, err := a.client()
	if err != nil {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	st, err := client.Status(ctx, control.StatusQuery{})
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	for _, g := range given {
		seen[g] = true
	}
	var names []string
	offer := func(name, description string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name+suffix+"\t"+description)
		}
	}
	for _, c := range st.Consumers {
		offer(c.Name, oneLine(c.State))
	}
	for _, j := range st.Jobs {
		offer(j.Name, "job, "+oneLine(j.State))
	}
	for _, c := range st.Consumers {
		if c.Group != "" && suffix == "" {
			offer("@"+c.Group, "group")
		}
	}
	return names
}
