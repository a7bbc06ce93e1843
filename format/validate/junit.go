package validate

import (
	"encoding/xml"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/text"
)

// The elements and attributes that both common schemas of JUnit's XML allow,
// with those that the stricter one (Ant's) demands.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string      `xml:"name,attr"`
		ID         int         `xml:"id,attr"`
		Package    string      `xml:"package,attr"`
		Timestamp  string      `xml:"timestamp,attr"`
		Hostname   string      `xml:"hostname,attr"`
		Tests      int         `xml:"tests,attr"`
		Failures   int         `xml:"failures,attr"`
		Errors     int         `xml:"errors,attr"`
		Time       string      `xml:"time,attr"`
		Properties struct{}    `xml:"properties"`
		Cases      []junitCase `xml:"testcase"`
		Out        string      `xml:"system-out"`
		Err        string      `xml:"system-err"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure"`
		Error   *junitFailure `xml:"error"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// noTime stands for the time of a suite, which the schema demands: a report
// has the same bytes in every run.
const noTime = "1970-01-01T00:00:00"

// writeJUnit writes a suite for each result with a case for each finding.
// Errors fail; warnings and the like are listed in the suite's output, as
// JUnit has no word for them.
func (r *Report) writeJUnit(w io.Writer) error {
	var all junitSuites
	for i, res := range r.Results {
		name := text.Quote(filepath.ToSlash(res.Path))
		var out strings.Builder
		s := junitSuite{Name: name, ID: i, Package: "loratool." + string(res.Kind), Timestamp: noTime, Hostname: "localhost", Time: "0"}
		for _, f := range res.Findings {
			sentence := f.where() + ": " + f.sentence()
			if f.Severity != rule.Fatal {
				fmt.Fprintf(&out, "%s: %s [%s]\n", f.Severity, sentence, f.Rule)
				continue
			}
			s.Failures++
			s.Cases = append(s.Cases, junitCase{Name: strings.TrimSpace(fmt.Sprintf("%s %s", f.Rule, line(f.Tensor))), Class: name, Time: "0",
				Failure: &junitFailure{Message: sentence, Type: string(f.Rule), Text: cureLine(f)}})
		}
		if res.Err != nil {
			s.Errors++
			s.Cases = append(s.Cases, junitCase{Name: "readable", Class: name, Time: "0", Error: &junitFailure{Message: line(res.Err.Error()), Type: "failure"}})
		}
		if len(s.Cases) == 0 {
			s.Cases = append(s.Cases, junitCase{Name: "valid", Class: name, Time: "0"})
		}
		s.Tests, s.Out = len(s.Cases), out.String()
		all.Suites = append(all.Suites, s)
	}
	b, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(xml.Header + string(b) + "\n"))
	return err
}

func cureLine(f Finding) string {
	if f.Cure == "" {
		return ""
	}
	return "cure: " + line(f.Cure)
}
