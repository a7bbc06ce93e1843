package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/text"
)

type namesOptions struct {
	rules rulesFlag
	json  bool
}

func newNamesCmd() *cobra.Command {
	var o namesOptions
	cmd := &cobra.Command{
		Use:   "names BASE",
		Short: "Show which names the tensors of a base have in memory",
		Long: `names shows how the parameters that a model has in memory, whose names an
adapter carries, are stored in a base: since transformers 5 many families have
other names on disk, and a stack of experts or a fused projection is several
tensors there. The map is that of the base's model_type and architectures in
transformers; merge and all other commands follow it.

` + namesHelp + `

` + exitHelp,
		Example: `  loratool names ./Mixtral-8x7B
  loratool names ./base --names rules.json --json`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runNames(args[0], o, cmd.OutOrStdout())
		},
	}
	o.rules.add(cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "print the map as JSON")
	return cmd
}

// namesHelp describes the file that --names takes.
const namesHelp = `--names FILE adds rules before those of the family, as JSON: {"rules": [{"from":
"^transformer\\.h\\.", "to": "model.layers."}]}. From is a regular expression
(RE2) of a part of a name on disk, to stands there in memory, with \1 for the
first group; ops lists operations by name where several tensors become one
parameter or one becomes several.`

// rulesFlag is the flag --names.
type rulesFlag struct{ path string }

func (f *rulesFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.path, "names", "", "`file` of rules added to the map of names (see loratool names)")
}

// readFor is read for a command whose base, the value of --base, may be none.
func (f *rulesFlag) readFor(base string) (rules adapter.Rules, err error) {
	if f.path != "" && base == "" {
		return rules, usagef("--names %s: adds to the map of a base, which --base names", f.path)
	}
	return f.read()
}

// read reads the file, if there is one.
func (f *rulesFlag) read() (rules adapter.Rules, err error) {
	if f.path == "" {
		return rules, nil
	}
	file, err := os.Open(f.path)
	if err != nil {
		return rules, err
	}
	defer file.Close()
	if rules, err = names.ReadRules(file); err != nil {
		return rules, fmt.Errorf("%s: %w", f.path, err)
	}
	return rules, nil
}

// A namesReport is the map of a base.
type namesReport struct {
	Base          string         `json:"base"`
	ModelType     string         `json:"model_type,omitempty"`
	Architectures []string       `json:"architectures,omitempty"`
	Origin        string         `json:"origin"`
	Families      []familyReport `json:"families"`
	Parameters    []names.Line   `json:"parameters"`
	Unchanged     int            `json:"unchanged"` // parameters that are one tensor of the same name
}

type familyReport struct {
	Key   string `json:"key"`
	Scope string `json:"scope,omitempty"`
	Rules int    `json:"rules"`
}

// origin says who made the rules.
func (f familyReport) origin(of string) string {
	if f.Key == names.FileKey {
		return "the user"
	}
	return of
}

func runNames(path string, o namesOptions, stdout io.Writer) error {
	rules, err := o.rules.read()
	if err != nil {
		return err
	}
	base, err := checkpoint.Open(path, openOptions())
	if err != nil {
		return err
	}
	defer base.Close()
	view, err := adapter.NewView(base)
	if err != nil {
		return err
	}
	m, err := names.For(view, rules)
	if err != nil {
		return err
	}
	r := namesReport{Base: path, ModelType: view.ModelType(), Architectures: view.Architectures(), Origin: "transformers " + names.Version()}
	for _, f := range m.Families() {
		r.Families = append(r.Families, familyReport{f.Key, f.Scope, f.Rules})
	}
	r.Parameters, r.Unchanged = m.Summary()
	if o.json {
		return printJSON(stdout, r)
	}
	r.print(stdout)
	return nil
}

func (r *namesReport) print(w io.Writer) {
	model := "no config.json says of which family it is"
	if r.ModelType != "" {
		model = text.Quote(r.ModelType) + prefixed(", ", firstQuoted(r.Architectures))
	}
	fmt.Fprintf(w, "%s: %s\n", text.Quote(r.Base), model)
	for _, f := range r.Families {
		scope := ""
		if f.Scope != "" {
			scope = " for " + text.Quote(f.Scope)
		}
		fmt.Fprintf(w, "  map %s%s, %s of %s\n", text.Quote(f.Key), scope, count(f.Rules, "rule"), f.origin(r.Origin))
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range r.Parameters {
		fmt.Fprintf(tw, "  %d\t%v\t%s\t←\t%s%s\n", l.Parameters, l.Shape, text.Quote(l.Memory), quoteAll(l.Disk), prefixed("\t", strings.Join(l.Operations, ", ")))
		if l.Problem != "" {
			fmt.Fprintf(tw, "\t\t\t\tnot followed: %s\n", oneLine(l.Problem))
		}
	}
	tw.Flush()
	fmt.Fprintf(w, "  %s under another name or in parts, %d as on disk\n", count(r.changed(), "parameter"), r.Unchanged)
}

func (r *namesReport) changed() (n int) {
	for _, l := range r.Parameters {
		n += l.Parameters
	}
	return n
}

func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = text.Quote(s)
	}
	return strings.Join(quoted, ", ")
}
