package validate

import (
	"encoding/json"
	"io"

	"github.com/loratool/loratool/internal/text"
)

type jsonReport struct {
	Version int          `json:"schema_version"`
	Tool    string       `json:"tool"`
	Profile string       `json:"profile,omitempty"`
	Results []jsonResult `json:"results"`
	Summary jsonSummary  `json:"summary"`
}

type jsonResult struct {
	Path     string        `json:"path"`
	Kind     Kind          `json:"kind"`
	Verdict  string        `json:"verdict"`
	Error    string        `json:"error,omitempty"`
	Findings []jsonFinding `json:"findings"`
}

type jsonFinding struct {
	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	File     string `json:"file"`
	Tensor   string `json:"tensor,omitempty"`
	Message  string `json:"message"`
	Cure     string `json:"cure,omitempty"`
}

type jsonSummary struct {
	Checked     int `json:"checked"`
	Errors      int `json:"errors"`
	Warnings    int `json:"warnings"`
	Infos       int `json:"infos"`
	Unsupported int `json:"unsupported"`
	Failures    int `json:"failures"`
}

func (r *Report) writeJSON(w io.Writer) error {
	n := r.Count()
	out := jsonReport{Version: 1, Tool: "loratool", Results: []jsonResult{},
		Summary: jsonSummary{len(r.Results), n.Errors, n.Warnings, n.Infos, n.Unsupported, n.Failures}}
	if r.Profile != nil {
		out.Profile = r.Profile.Name
	}
	for _, res := range r.Results {
		j := jsonResult{Path: res.Path, Kind: res.Kind, Verdict: res.verdict(), Findings: []jsonFinding{}}
		if res.Err != nil {
			j.Error = line(res.Err.Error())
		}
		for _, f := range res.Findings {
			j.Findings = append(j.Findings, jsonFinding{string(f.Rule), f.Severity.String(), f.File, f.Tensor, f.sentence(), f.Cure})
		}
		out.Results = append(out.Results, j)
	}
	return indented(w, out)
}

// indented writes v as JSON that a terminal can print: encoding/json escapes
// control characters, and the names in messages are quoted before.
func indented(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text.EscapeJSON(b), '\n'))
	return err
}
