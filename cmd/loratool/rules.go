package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/validate"
	"github.com/loratool/loratool/spec"
)

func newRulesCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:        "rules [ID]...",
		Short:      "List the rules of the specification, or explain one with an example and the cure",
		SuggestFor: []string{"explain", "rule"},
		Long: `rules lists what validate checks. With the ID of a rule it says what the rule
demands, shows an input that breaks it, and what to do about it. The families
are ST for one safetensors file, SH for shards, AD for adapters, LT for what
the specification adds to PEFT's files, PF for programs that serve adapters.

` + exitHelp,
		Example: `  loratool rules
  loratool rules AD012`,
		Args: args(0, -1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return runRules(ids, asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: one object for each rule, in a list")
	return cmd
}

// A ruleReport is what rules says of one rule.
type ruleReport struct {
	ID       string            `json:"id"`
	Severity string            `json:"severity"`
	Title    string            `json:"title"`
	Summary  string            `json:"summary"`
	Cure     string            `json:"cure,omitempty"`
	Examples map[string]string `json:"examples"` // vector → what is wrong with it
}

func runRules(ids []string, asJSON bool, stdout io.Writer) error {
	rules := rule.All()
	if len(ids) > 0 {
		rules = nil
		for _, id := range ids {
			r, ok := rule.Lookup(rule.ID(strings.ToUpper(id)))
			if !ok {
				return usagef("there is no rule %q; loratool rules lists them", id)
			}
			rules = append(rules, r)
		}
	}
	if asJSON {
		reports := []ruleReport{}
		for _, r := range rules {
			reports = append(reports, ruleReport{string(r.ID), r.Severity.String(), r.Title, r.Summary, r.Cure, spec.Examples(r.ID)})
		}
		return printJSON(stdout, reports)
	}
	if len(ids) == 0 {
		w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		for _, r := range rules {
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.ID, r.Severity, r.Title)
		}
		return w.Flush()
	}
	for i, r := range rules {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		explain(stdout, r)
	}
	return nil
}

// explain prints one rule.
func explain(w io.Writer, r rule.Rule) {
	fmt.Fprintf(w, "%s (%s): %s\n\n%s\n", r.ID, r.Severity, r.Title, r.Summary)
	examples := spec.Examples(r.ID)
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		fmt.Fprintf(w, "\nexample: %s\n    in the specification's vectors, %s\n", examples[name], name)
	}
	if strings.HasPrefix(string(r.ID), "PF") {
		fmt.Fprintln(w)
		for _, p := range validate.Profiles() {
			for _, l := range p.Limits {
				if l.Rule == r.ID {
					fmt.Fprintf(w, "--profile %s: %s %s\n", p.Name, p.Program, l.Effect)
				}
			}
		}
	}
	if r.Cure != "" {
		fmt.Fprintf(w, "\ncure: %s\n", r.Cure)
	}
}
