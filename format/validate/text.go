package validate

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/loratool/loratool/internal/text"
)

// A Format is a way to write a report.
type Format string

// The formats.
const (
	Text   Format = "text"
	JSON   Format = "json"
	SARIF  Format = "sarif"
	JUnit  Format = "junit"
	GitHub Format = "github"
	GitLab Format = "gitlab"
)

var writers = map[Format]func(*Report, io.Writer) error{
	Text: (*Report).writeText, JSON: (*Report).writeJSON, SARIF: (*Report).writeSARIF,
	JUnit: (*Report).writeJUnit, GitHub: (*Report).writeGitHub, GitLab: (*Report).writeGitLab,
}

// ParseFormat reads the name of a format.
func ParseFormat(name string) (Format, error) {
	if _, ok := writers[Format(name)]; !ok {
		return "", fmt.Errorf("format %q: expected text, json, sarif, junit, github or gitlab", name)
	}
	return Format(name), nil
}

// Write writes the report.
func (r *Report) Write(w io.Writer, f Format) error { return writers[f](r, w) }

// line makes text from files safe for a terminal and keeps it on one line.
func line(s string) string {
	q := text.Quote(s)
	if q != s && len(q) > 1 && q[0] == '"' && s != "" && s[0] != '"' {
		return q[1 : len(q)-1]
	}
	return q
}

// where names file and tensor of a finding.
func (f Finding) where() string {
	s := text.Quote(filepath.ToSlash(f.File))
	if f.Tensor != "" {
		s += ": tensor " + fmt.Sprintf("%+q", f.Tensor)
	}
	return s
}

// sentence is what is wrong, on one printable line.
func (f Finding) sentence() string { return line(f.Message) }

func (r *Report) writeText(w io.Writer) error {
	var b strings.Builder
	for _, res := range r.Results {
		for _, f := range res.Findings {
			fmt.Fprintf(&b, "%s: %s: %s [%s]\n", f.where(), f.Severity, f.sentence(), f.Rule)
			if f.Cure != "" {
				fmt.Fprintf(&b, "    cure: %s\n", line(f.Cure))
			}
		}
		if res.Err != nil {
			fmt.Fprintf(&b, "%s\n", line(res.Err.Error()))
		}
	}
	b.WriteString(r.summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// summary says in one line what was checked and found.
func (r *Report) summary() string {
	kinds := map[Kind]int{}
	for _, res := range r.Results {
		if res.Path != "" {
			kinds[res.Kind]++
		}
	}
	var checked []string
	for _, k := range []Kind{Adapter, Checkpoint, File} {
		if n := kinds[k]; n > 0 || k == Adapter && len(r.Results) == 0 {
			checked = append(checked, plural(n, string(k)))
		}
	}
	n := r.Count()
	if len(checked) == 0 {
		checked = append(checked, "nothing")
	}
	s := fmt.Sprintf("checked %s: %s, %s", strings.Join(checked, ", "), plural(n.Errors, "error"), plural(n.Warnings, "warning"))
	if n.Infos > 0 {
		s += fmt.Sprintf(", %d info", n.Infos)
	}
	if n.Unsupported > 0 {
		s += fmt.Sprintf(", %d not supported", n.Unsupported)
	}
	if n.Failures > 0 {
		s += fmt.Sprintf(", %d not readable", n.Failures)
	}
	return s
}
