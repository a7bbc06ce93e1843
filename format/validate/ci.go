package validate

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/loratool/loratool/format/rule"
)

// writeGitHub writes workflow commands, which become annotations, and the
// summary for the log.
func (r *Report) writeGitHub(w io.Writer) error {
	var b strings.Builder
	for _, res := range r.Results {
		for _, f := range res.Findings {
			level := [...]string{rule.Fatal: "error", rule.Warning: "warning", rule.Info: "notice", rule.Unhandled: "warning", rule.Off: "debug"}[f.Severity]
			message := f.sentence()
			if f.Tensor != "" {
				message = "tensor " + line(f.Tensor) + ": " + message
			}
			if f.Cure != "" {
				message += "\ncure: " + line(f.Cure)
			}
			title := string(f.Rule)
			if x, ok := rule.Lookup(f.Rule); ok {
				title += ": " + x.Title
			}
			fmt.Fprintf(&b, "::%s file=%s,title=%s::%s\n", level, githubProperty(filepath.ToSlash(f.File)), githubProperty(title), githubData(message))
		}
		if res.Err != nil {
			fmt.Fprintf(&b, "::error::%s\n", githubData(line(res.Err.Error())))
		}
	}
	b.WriteString(r.summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// githubData escapes the message of a workflow command (@actions/core,
// escapeData). Other control characters cannot be escaped there, so the text
// must be printable but for line ends.
func githubData(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = line(lines[i])
	}
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(strings.Join(lines, "\n"))
}

// githubProperty escapes a property of a workflow command (escapeProperty).
func githubProperty(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(githubData(strings.ReplaceAll(s, "\n", `\n`)))
}

type gitlabIssue struct {
	Description string         `json:"description"`
	Check       string         `json:"check_name"`
	Fingerprint string         `json:"fingerprint"`
	Severity    string         `json:"severity"`
	Location    gitlabLocation `json:"location"`
}

type gitlabLocation struct {
	Path  string      `json:"path"`
	Lines gitlabLines `json:"lines"`
}

type gitlabLines struct {
	Begin int `json:"begin"`
}

// writeGitLab writes a Code Quality report. Its locations are lines, which
// these files do not have: all findings are on the first.
func (r *Report) writeGitLab(w io.Writer) error {
	issues := []gitlabIssue{}
	for _, res := range r.Results {
		for _, f := range res.Findings {
			severity := [...]string{rule.Fatal: "major", rule.Warning: "minor", rule.Info: "info", rule.Unhandled: "minor", rule.Off: "info"}[f.Severity]
			description := fmt.Sprintf("%s [%s]", f.sentence(), f.Rule)
			if f.Tensor != "" {
				description = "tensor " + line(f.Tensor) + ": " + description
			}
			issues = append(issues, gitlabIssue{description, string(f.Rule), f.fingerprint(), severity,
				gitlabLocation{strings.TrimPrefix(filepath.ToSlash(f.File), "./"), gitlabLines{1}}})
		}
		if res.Err != nil {
			f := Finding{Rule: "failure", File: res.Path, Message: res.Err.Error()}
			issues = append(issues, gitlabIssue{f.sentence(), "failure", f.fingerprint(), "blocker", gitlabLocation{res.Path, gitlabLines{1}}})
		}
	}
	return indented(w, issues)
}
