package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/cli.md")

// TestReference makes sure that docs/cli.md is what the commands say about
// themselves.
func TestReference(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Commands of loratool\n\nWritten from the commands' own help by `go test ./cmd/loratool -run Reference -update`; do not edit.\n")
	root := newRootCmd(io.Discard, io.Discard)
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	describe(&b, root)
	path := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Errorf("%s is out of date: go test ./cmd/loratool -run Reference -update", path)
	}
}

// describe writes a command and those below it.
func describe(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n", cmd.CommandPath())
	if cmd.Long != "" {
		fmt.Fprintf(b, "%s\n", cmd.Long)
	} else {
		fmt.Fprintf(b, "%s.\n", cmd.Short)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(b, "- [`%s`](#%s): %s\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
			}
		}
	} else {
		fmt.Fprintf(b, "\n    %s\n", cmd.UseLine())
	}
	if cmd.Example != "" {
		fmt.Fprintf(b, "\nExamples:\n\n")
		for line := range strings.Lines(cmd.Example) {
			fmt.Fprintf(b, "    %s\n", strings.TrimSpace(line))
		}
	}
	describeFlags(b, cmd)
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			describe(b, c)
		}
	}
}

// describeFlags writes a table of a command's flags.
func describeFlags(b *strings.Builder, cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	b.WriteString("\n| flag | meaning |\n|---|---|\n")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		kind, meaning := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if kind != "" {
			name += " " + kind
		}
		if zero := f.DefValue; zero != "" && zero != "false" && zero != "0" && zero != "[]" {
			meaning += " (default " + zero + ")"
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(meaning, "|", `\|`))
	})
}

// TestHelp checks that every command says what it does, how it is called and
// when it fails.
func TestHelp(t *testing.T) {
	for _, c := range newRootCmd(io.Discard, io.Discard).Commands() {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: bad summary %q", c.Name(), c.Short)
		}
		if strings.Contains(c.Long, "` + ") || strings.Contains(c.Long, "Help + `") {
			t.Errorf("%s: Go text in the help", c.Name())
		}
		if c.Name() == "help" || c.Name() == "version" || c.HasSubCommands() {
			continue
		}
		if !strings.Contains(c.Long, "Exit status") || c.Example == "" {
			t.Errorf("%s: help lacks the exit statuses or an example", c.Name())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s: no help", c.Name(), f.Name)
			}
		})
	}
}
