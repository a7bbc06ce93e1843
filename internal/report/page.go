// Package report builds one self-contained HTML page with pictures in SVG: no
// script, nothing loaded from elsewhere, readable in the dark and on paper. It
// knows numbers and labels, not what they mean.
package report

import (
	_ "embed"
	"fmt"
	"html"
	"strings"

	"github.com/loratool/loratool/internal/text"
)

//go:embed style.css
var style string

// A Page collects sections. Labels are shown by text.Quote and escaped.
type Page struct {
	title string
	body  strings.Builder
}

// New starts a page with a heading and a line below it.
func New(title, line string) *Page {
	p := &Page{title: title}
	fmt.Fprintf(&p.body, "<h1>%s</h1>\n<p class=\"lead\">%s</p>\n", escape(title), escape(line))
	return p
}

// Bytes returns the page.
func (p *Page) Bytes() []byte {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
	b.WriteString("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n")
	fmt.Fprintf(&b, "<title>%s</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n%s</main>\n</body>\n</html>\n", escape(p.title), style, p.body.String())
	return []byte(b.String())
}

// A Fact is a number with its name.
type Fact struct{ Name, Value string }

// Facts shows numbers that matter most, large.
func (p *Page) Facts(facts ...Fact) {
	p.body.WriteString("<dl class=\"facts\">\n")
	for _, f := range facts {
		fmt.Fprintf(&p.body, "<div><dt>%s</dt><dd>%s</dd></div>\n", escape(f.Name), escape(f.Value))
	}
	p.body.WriteString("</dl>\n")
}

// Section starts a part of the page.
func (p *Page) Section(title, note string) {
	fmt.Fprintf(&p.body, "<h2>%s</h2>\n", escape(title))
	if note != "" {
		fmt.Fprintf(&p.body, "<p>%s</p>\n", escape(note))
	}
}

// List shows lines of text.
func (p *Page) List(lines []string) {
	p.body.WriteString("<ul>\n")
	for _, l := range lines {
		fmt.Fprintf(&p.body, "<li>%s</li>\n", escape(l))
	}
	p.body.WriteString("</ul>\n")
}

// Table shows rows of cells; the first column is text, the others numbers.
func (p *Page) Table(header []string, rows [][]string) {
	p.body.WriteString("<div class=\"wide\"><table>\n<thead><tr>")
	for _, h := range header {
		fmt.Fprintf(&p.body, "<th>%s</th>", escape(h))
	}
	p.body.WriteString("</tr></thead>\n<tbody>\n")
	for _, row := range rows {
		p.body.WriteString("<tr>")
		for _, c := range row {
			fmt.Fprintf(&p.body, "<td>%s</td>", escape(c))
		}
		p.body.WriteString("</tr>\n")
	}
	p.body.WriteString("</tbody>\n</table></div>\n")
}

// escape makes any text safe in HTML.
func escape(s string) string {
	if s == "" {
		return ""
	}
	return html.EscapeString(text.Quote(s))
}
