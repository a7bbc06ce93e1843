package validate

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/loratool/loratool/format/rule"
)

// The parts of SARIF 2.1.0 (OASIS, 2020) that a report needs.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string      `json:"id"`
		Name    string      `json:"name"`
		Short   sarifText   `json:"shortDescription"`
		Full    sarifText   `json:"fullDescription"`
		Help    sarifText   `json:"help"`
		Default sarifConfig `json:"defaultConfiguration"`
	}
	sarifConfig struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		Successful bool                `json:"executionSuccessful"`
		Notes      []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)

const home = "https://github.com/loratool/loratool"

// sarifLevel is the level of a severity. What is not supported is no fault of
// the file.
func sarifLevel(s rule.Severity) string {
	return [...]string{rule.Fatal: "error", rule.Warning: "warning", rule.Info: "note", rule.Unhandled: "warning", rule.Off: "none"}[s]
}

func (r *Report) writeSARIF(w io.Writer) error {
	run := sarifRun{Results: []sarifResult{}, Tool: sarifTool{sarifDriver{Name: "loratool", InformationURI: home, Rules: []sarifRule{}}}}
	index := map[rule.ID]int{} // of the rules that are broken: nobody needs the others
	for _, res := range r.Results {
		for _, f := range res.Findings {
			index[f.Rule] = 0
		}
	}
	for _, x := range rule.All() {
		if _, broken := index[x.ID]; !broken {
			continue
		}
		index[x.ID] = len(run.Tool.Driver.Rules)
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: string(x.ID), Name: camel(x.Title), Short: sarifText{x.Title},
			Full: sarifText{x.Summary}, Help: sarifText{helpText(x)}, Default: sarifConfig{sarifLevel(x.Severity)}})
	}
	failed := sarifInvocation{Successful: true}
	for _, res := range r.Results {
		for _, f := range res.Findings {
			run.Results = append(run.Results, f.sarif(index[f.Rule]))
		}
		if res.Err != nil {
			failed.Successful = false
			failed.Notes = append(failed.Notes, sarifNotification{"error", sarifText{line(res.Err.Error())}})
		}
	}
	run.Invocations = []sarifInvocation{failed}
	return indented(w, sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

func (f Finding) sarif(index int) sarifResult {
	loc := sarifLocation{Physical: sarifPhysical{sarifArtifact{fileURI(f.File)}}}
	message := f.sentence()
	if f.Tensor != "" {
		loc.Logical = []sarifLogical{{f.Tensor, "member"}}
		message = "tensor " + line(f.Tensor) + ": " + message
	}
	if f.Cure != "" {
		message += ". Cure: " + line(f.Cure)
	}
	return sarifResult{RuleID: string(f.Rule), RuleIndex: index, Level: sarifLevel(f.Severity), Message: sarifText{message},
		Locations: []sarifLocation{loc}, Fingerprints: map[string]string{"loratool/v1": f.fingerprint()}}
}

// fingerprint is the same for the same finding in another run, whatever its
// numbers.
func (f Finding) fingerprint() string {
	sum := sha256.Sum256([]byte(string(f.Rule) + "\x00" + filepath.ToSlash(f.File) + "\x00" + f.Tensor))
	return hex.EncodeToString(sum[:16])
}

// fileURI is a relative URI for a relative path, file:// for an absolute one.
func fileURI(file string) string {
	p := path.Clean(filepath.ToSlash(file))
	if strings.HasPrefix(p, "/") {
		return (&url.URL{Scheme: "file", Path: p}).String()
	}
	return (&url.URL{Path: p}).EscapedPath()
}

func helpText(x rule.Rule) string {
	if x.Cure == "" {
		return x.Summary
	}
	return x.Summary + " Cure: " + x.Cure + "."
}

// camel makes a name such as RankDiffersFromTheConfig of a title.
func camel(title string) string {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(title, func(c rune) bool { return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
