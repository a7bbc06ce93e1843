package safetensors

import (
	"fmt"
	"math"
	"strconv"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

// field reads a member of a tensor entry.
func (p *parser) field(key string, at int) error {
	var bit fieldSet
	var read func() error
	switch key {
	case "dtype":
		bit, read = hasDType, p.dtype
	case "shape":
		bit, read = hasShape, p.shape
	case "data_offsets":
		bit, read = hasOffsets, p.offsets
	default:
		return p.unknownField(key, at)
	}
	if p.fields&bit != 0 {
		if err := p.broken("ST009", p.t.Name, "key %q occurs twice, again at byte %d", key, prefixLen+at); err != nil {
			return err
		}
		return p.scan.Skip()
	}
	p.fields |= bit
	return read()
}

func (p *parser) dtype() error {
	if p.scan.Peek() != '"' {
		return p.wrongKind("ST012", "dtype is not a string")
	}
	begin := p.scan.Pos()
	name, err := p.scan.String()
	if err != nil {
		return err
	}
	if p.span != nil {
		p.span.dtype = [2]int{begin, p.scan.Pos()}
	}
	d, ok := dtype.Parse(name)
	if !ok {
		err := p.fault("ST012", p.t.Name, "unknown dtype %s", short(name))
		if near := dtype.Nearest(name); near != "" {
			err.Hint = "did the writer mean " + near + "?"
		}
		return p.reportFault(err)
	}
	p.t.DType = d
	return nil
}

func (p *parser) shape() error {
	if p.scan.Peek() != '[' {
		return p.wrongKind("ST013", "shape is not a list")
	}
	p.dims.begin()
	err := p.scan.Array(p.member.dim)
	p.t.Shape = p.dims.end()
	return err
}

func (p *parser) dim() error {
	n, err := p.unsigned("ST013", "shape")
	if err != nil {
		return err
	}
	if n > math.MaxInt {
		return p.broken("ST014", p.t.Name, "dimension %d is more elements than any file has", n)
	}
	if n > 1<<48-1 {
		p.warn("ST027", p.t.Name, "dimension %d is above 2^48-1", n)
	}
	if p.dims.n == maxDims {
		return &rule.Unsupported{File: p.h.file, What: fmt.Sprintf("tensor %s of more than %d dimensions", short(p.t.Name), maxDims)}
	}
	p.dims.add(int(n))
	return nil
}

func (p *parser) offsets() error {
	if p.scan.Peek() != '[' {
		return p.wrongKind("ST015", "data_offsets is not a list")
	}
	begin := p.scan.Pos()
	p.dims.n = 0
	if err := p.scan.Array(p.member.off); err != nil {
		return err
	}
	if p.span != nil {
		p.span.offset = [2]int{begin, p.scan.Pos()}
	}
	switch {
	case p.spoilt:
		return nil
	case p.dims.n != 2:
		return p.broken("ST015", p.t.Name, "data_offsets has %d numbers, expected 2", p.dims.n)
	case p.offs[0] > p.offs[1]:
		return p.broken("ST015", p.t.Name, "data_offsets [%d,%d] go backwards", p.offs[0], p.offs[1])
	}
	return nil
}

func (p *parser) off() error {
	n, err := p.unsigned("ST015", "data_offsets")
	if err != nil {
		return err
	}
	if p.dims.n < 2 {
		p.offs[p.dims.n] = n
	}
	p.dims.n++
	return nil
}

// unsigned reads an element of a list of unsigned integers.
func (p *parser) unsigned(id rule.ID, list string) (uint64, error) {
	if c := p.scan.Peek(); c != '-' && (c < '0' || c > '9') {
		return 0, p.wrongKind(id, list+" holds something that is not an unsigned integer")
	}
	at := p.scan.Pos()
	text, err := p.scan.Number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, p.broken(id, p.t.Name, "%s holds %s at byte %d, expected an unsigned 64-bit integer", list, short(text), prefixLen+at)
	}
	return n, nil
}

func (p *parser) unknownField(key string, at int) error {
	if err := p.unknown.Add(key, at); err != nil {
		return err
	}
	p.warn("ST011", p.t.Name, "unknown field %s", short(key))
	return p.scan.Skip()
}

// finish checks the entry that was read and adds it to the header.
func (p *parser) finish() error {
	t := p.t
	if p.fields != allFields {
		return p.broken("ST010", t.Name, "entry has no %s", p.missing())
	}
	need, broken := byteLen(t.DType, t.Shape)
	if broken != nil {
		return p.broken(broken.Rule, t.Name, "%w", broken.Err)
	}
	if have := p.offs[1] - p.offs[0]; have != uint64(need) {
		return p.broken("ST019", t.Name, "data_offsets [%d,%d] are %d bytes, %s of shape %v needs %d", p.offs[0], p.offs[1], have, t.DType, t.Shape, need)
	}
	if p.offs[1] > math.MaxInt64 {
		return p.broken("ST016", t.Name, "data_offsets end at %d, beyond any file", p.offs[1])
	}
	t.Begin, t.End = int64(p.offs[0]), int64(p.offs[1])
	p.h.tensors = append(p.h.tensors, t)
	p.h.names.add(len(p.h.tensors)-1, p.h.tensors)
	return nil
}

func (p *parser) missing() string {
	switch {
	case p.fields&hasDType == 0:
		return "dtype"
	case p.fields&hasShape == 0:
		return "shape"
	}
	return "data_offsets"
}

// An arena holds the shapes of all tensors in a few big blocks.
type arena struct {
	block []int
	start int
	n     int // length of the list being read
}

func (a *arena) begin() { a.start, a.n = len(a.block), 0 }

func (a *arena) add(v int) {
	if len(a.block) == cap(a.block) {
		list := a.block[a.start:]
		a.block = append(make([]int, 0, max(maxDims, min(2*cap(a.block), 1<<16))), list...)
		a.start = 0
	}
	a.block = append(a.block, v)
	a.n++
}

func (a *arena) end() []int { return a.block[a.start:len(a.block):len(a.block)] }
