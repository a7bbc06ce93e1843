package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
)

// minEntry is the length of the shortest tensor entry; it bounds the memory
// that is reserved before entries are read.
const minEntry = len(`"":{"dtype":"U8","shape":[],"data_offsets":[0,0]}`)

const (
	// maxDims bounds the dimensions of a tensor, which the format does not;
	// numpy and torch know no more than 64.
	maxDims = 64
	// warningsPerRule bounds the findings that a header of a million faults
	// may make.
	warningsPerRule = 20
)

// A parser turns raw header bytes into a Header. Names are slices of raw.
type parser struct {
	h        *Header
	scan     *strictjson.Scanner
	json     string // raw without the length
	fileSize int64  // negative: not known, take the tensors' word
	report   rule.Report
	spoilt   bool // the entry being read broke a rule
	gaps     bool // an entry is left out, so that the layout says nothing

	t       Tensor // entry being read
	fields  fieldSet
	offs    [2]uint64
	unknown strictjson.Keys // of the entry being read
	dims    arena
	spans   []span    // of every entry, if wanted
	span    *span     // of the entry being read, or nil
	counts  [64]int   // warnings of each ST rule
	member  memberFns // method values, made once
}

type memberFns struct {
	top, field func(key string, at int) error
	dim, off   func() error
}

type fieldSet uint8

const (
	hasDType fieldSet = 1 << iota
	hasShape
	hasOffsets
	allFields = hasDType | hasShape | hasOffsets
)

// A span tells where an entry and the parts of it that Edit rewrites are in
// the JSON.
type span struct {
	name          string
	begin, end    int // from the key's quote to after the value's brace
	dtype, offset [2]int
}

// parse checks raw as the header of a file of the given size.
func parse(raw []byte, fileSize int64, file string, report rule.Report) (*Header, error) {
	p := newParser(raw, fileSize, file)
	p.report = report
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.h, nil
}

func newParser(raw []byte, fileSize int64, file string) *parser {
	p := &parser{h: &Header{file: file, raw: raw}, fileSize: fileSize, report: rule.Stop}
	p.json = unsafe.String(unsafe.SliceData(raw[prefixLen:]), len(raw)-prefixLen)
	p.scan = strictjson.NewScanner(p.json, strictjson.Limits{})
	p.member = memberFns{p.top, p.field, p.dim, p.off}
	return p
}

func (p *parser) run() error {
	if err := strictjson.CheckUTF8(p.json); err != nil {
		return p.jsonFault(err)
	}
	expected := min(bytes.Count(p.h.raw, []byte(`"data_offsets"`)), len(p.json)/minEntry+1)
	p.h.tensors = make([]Tensor, 0, expected)
	p.h.names.grow(expected, nil)
	if c := p.scan.Peek(); c != '{' {
		return p.noObject()
	}
	if at := p.scan.Pos(); at > 0 {
		p.warn("ST007", "", "%d bytes of white space before the header", at)
	}
	if err := p.scan.Object(p.member.top); err != nil {
		return p.jsonFault(err)
	}
	if err := p.padding(); err != nil {
		return err
	}
	if !p.gaps {
		if err := p.layout(); err != nil {
			return err
		}
	}
	p.checkNames()
	return nil
}

// noObject tells ST006 from ST005: the top level is JSON of another kind, or
// none at all.
func (p *parser) noObject() error {
	if err := p.scan.Skip(); err != nil {
		return p.jsonFault(err)
	}
	return p.fault("ST006", "", "top level is not an object")
}

// padding checks what follows the object.
func (p *parser) padding() error {
	at := p.scan.Pos()
	if err := p.scan.End(); err != nil {
		end := p.scan.Pos()
		what := "bytes after the object"
		if p.json[end] == 0 {
			what = "NUL padding"
		}
		return p.fault("ST005", "", "%s: %s at byte %d of the file", what, found(p.json[end]), prefixLen+end)
	}
	for i := at; i < len(p.json); i++ {
		if c := p.json[i]; c != ' ' {
			p.warn("ST008", "", "padding holds %s at byte %d, expected spaces", found(c), prefixLen+i)
			break
		}
	}
	return nil
}

func found(c byte) string { return fmt.Sprintf("0x%02X", c) }

// top reads a member of the top level.
func (p *parser) top(key string, at int) error {
	if key == metadataKey {
		if p.h.hasMeta {
			if err := p.broken("ST009", "", "key %q occurs twice, again at byte %d", key, prefixLen+at); err != nil {
				return err
			}
			return p.scan.Skip()
		}
		p.h.hasMeta = true
		return p.metadata()
	}
	p.t, p.fields, p.unknown, p.spoilt = Tensor{Name: key}, 0, strictjson.Keys{}, false
	if i, ok := p.h.names.find(key, p.h.tensors); ok {
		if err := p.broken("ST009", p.h.tensors[i].Name, "key occurs twice, again at byte %d", prefixLen+at); err != nil {
			return err
		}
		return p.scan.Skip()
	}
	if p.spans != nil {
		p.spans = append(p.spans, span{name: key, begin: at})
		p.span = &p.spans[len(p.spans)-1]
	}
	if p.scan.Peek() != '{' {
		return p.wrongKind("ST010", "entry is not an object")
	}
	if err := p.scan.Object(p.member.field); err != nil {
		return err
	}
	if p.span != nil {
		p.span.end = p.scan.Pos()
	}
	if p.spoilt {
		return nil
	}
	return p.finish()
}

// metadata reads the value of __metadata__. MLX writes null when it has none.
func (p *parser) metadata() error {
	p.t = Tensor{}
	switch p.scan.Peek() {
	case 'n':
		_, err := p.scan.Literal()
		return err
	case '{':
	default:
		return p.wrongKind("ST022", "__metadata__ is not an object")
	}
	var keys strictjson.Keys
	return p.scan.Object(func(key string, at int) error {
		if err := keys.Add(key, at); err != nil {
			return err
		}
		if p.scan.Peek() != '"' {
			return p.wrongKind("ST022", fmt.Sprintf("__metadata__ value of %s is not a string", short(key)))
		}
		value, err := p.scan.String()
		p.h.metadata = append(p.h.metadata, Pair{key, value})
		return err
	})
}

// wrongKind reports a value of the wrong kind at the scanner's position, but
// the value's own faults (syntax, depth) go first.
func (p *parser) wrongKind(id rule.ID, what string) error {
	at := p.scan.Pos()
	if err := p.scan.Skip(); err != nil {
		return err
	}
	return p.broken(id, p.t.Name, "%s (byte %d)", what, prefixLen+at)
}

// broken reports a broken rule. With nil the caller goes on, without the entry
// that was being read.
func (p *parser) broken(id rule.ID, tensor, format string, args ...any) error {
	return p.reportFault(p.fault(id, tensor, format, args...))
}

func (p *parser) reportFault(e *rule.Error) error {
	p.spoilt, p.gaps = true, true
	return p.report(e)
}

func (p *parser) fault(id rule.ID, tensor, format string, args ...any) *rule.Error {
	const most = 1000 // bytes of a name that a message shows
	if len(tensor) > most {
		tensor = tensor[:most] + "…"
	}
	return &rule.Error{File: p.h.file, Tensor: tensor, Rule: id, Err: fmt.Errorf(format, args...), Hint: rule.Cure(id)}
}

// jsonFault gives a fault of the JSON its rule, and its position in the file.
func (p *parser) jsonFault(err error) error {
	e, ok := errors.AsType[*strictjson.Error](err)
	switch {
	case !ok:
		return err
	case e.Problem == strictjson.Size:
		return &rule.Unsupported{File: p.h.file, What: fmt.Sprintf("header: byte %d: %s", prefixLen+e.Offset, e.What)}
	}
	ids := [...]rule.ID{
		strictjson.Syntax: "ST005", strictjson.Encoding: "ST004", strictjson.Duplicate: "ST009",
		strictjson.Surrogate: "ST032", strictjson.Depth: "ST023",
	}
	return p.fault(ids[e.Problem], p.t.Name, "byte %d: %s", prefixLen+e.Offset, e.What)
}

// warn notes what is legal but suspicious.
func (p *parser) warn(id rule.ID, tensor, format string, args ...any) {
	n, _ := strconv.Atoi(string(id[2:]))
	p.counts[n]++
	switch c := p.counts[n]; {
	case c <= warningsPerRule:
		p.h.warnings = append(p.h.warnings, p.fault(id, tensor, format, args...))
	case c == warningsPerRule+1:
		p.h.warnings = append(p.h.warnings, p.fault(id, "", "more of the same are not listed"))
	}
}

// short quotes text from the file, cut to a readable length.
func short(s string) string {
	const most = 100
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
