package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/strictjson"
)

const (
	indexSuffix  = ".safetensors.index.json"
	shardSuffix  = ".safetensors"
	maxIndex     = 250_000_000 // bytes: SH015
	maxShardName = 1024        // bytes: SH003
	maxEntries   = 1 << 21     // of a weight_map; no model has as many tensors
	maxShards    = 100_000
)

// An Index is a *.safetensors.index.json: it maps tensors to shards.
type Index struct {
	Name     string // file name inside the folder
	Raw      []byte // as read; do not modify
	Metadata strictjson.Value
	Entries  []Entry  // of weight_map, in the order of the file
	Shards   []string // names, in the order in which entries first name them

	at map[string]int32 // tensor → Entries
}

// An Entry of an index tells which shard a tensor is in.
type Entry struct {
	Tensor string
	Shard  int32 // index into Shards
}

// ParseIndex reads and checks an index, but not the shards. The name is for
// messages and Index.Name only.
func ParseIndex(data []byte, name string) (*Index, error) {
	return CheckIndex(data, name, rule.Stop)
}

// CheckIndex is ParseIndex for those who want every broken rule: report gets
// each of them, except one that makes the rest unreadable, which is the error.
// Broken entries are left out.
func CheckIndex(data []byte, name string, report rule.Report) (*Index, error) {
	// Every entry ends in the suffix, so this is enough room or a bit too much.
	n := min(bytes.Count(data, []byte(shardSuffix+`"`)), maxEntries)
	ix := &Index{Name: name, Raw: data, Entries: make([]Entry, 0, n), at: make(map[string]int32, n)}
	p := &indexParser{ix: ix, numbers: map[string]int32{}, report: report}
	src := unsafe.String(unsafe.SliceData(data), len(data))
	if err := strictjson.CheckUTF8(src); err != nil {
		return nil, p.jsonFault(err)
	}
	p.scan = strictjson.NewScanner(src, strictjson.Limits{})
	err := p.scan.Object(p.top)
	if err == nil {
		err = p.scan.End()
	}
	if err != nil {
		return nil, p.jsonFault(err)
	}
	if len(p.ix.Entries) == 0 && !p.broken {
		return nil, p.fault("SH002", "", "weight_map is missing or empty")
	}
	return p.ix, nil
}

type indexParser struct {
	ix      *Index
	scan    *strictjson.Scanner
	keys    strictjson.Keys
	numbers map[string]int32 // shard name → its number, -1 for a name that is refused
	report  rule.Report
	broken  bool // something was reported
}

// reported reports a broken rule. With nil the caller goes on.
func (p *indexParser) reported(id rule.ID, tensor, format string, args ...any) error {
	p.broken = true
	return p.report(fault(id, p.ix.Name, tensor, format, args...))
}

func (p *indexParser) fault(id rule.ID, tensor, format string, args ...any) error {
	return fault(id, p.ix.Name, tensor, format, args...)
}

func (p *indexParser) jsonFault(err error) error {
	e, ok := errors.AsType[*strictjson.Error](err)
	switch {
	case !ok:
		return err
	case e.Problem == strictjson.Size:
		return &rule.Unsupported{File: p.ix.Name, What: "index: " + e.Error()}
	}
	return p.fault("SH001", "", "%w", e)
}

func (p *indexParser) top(key string, at int) (err error) {
	if err := p.keys.Add(key, at); err != nil {
		return err
	}
	switch key {
	case "weight_map":
		if p.scan.Peek() != '{' {
			return p.wrongKind("", "weight_map is not an object")
		}
		return p.scan.Object(p.entry)
	case "metadata":
		p.ix.Metadata, err = p.scan.Value()
		return err
	}
	return p.scan.Skip()
}

func (p *indexParser) entry(tensor string, at int) error {
	if _, ok := p.ix.at[tensor]; ok {
		if err := p.reported("SH001", tensor, "byte %d: key occurs twice", at); err != nil {
			return err
		}
		return p.scan.Skip()
	}
	if len(p.ix.Entries) == maxEntries {
		return &rule.Unsupported{File: p.ix.Name, What: fmt.Sprintf("index of more than %d tensors", maxEntries)}
	}
	if p.scan.Peek() != '"' {
		return p.wrongKind(tensor, "shard name is not a string")
	}
	shard, err := p.scan.String()
	if err != nil {
		return err
	}
	n, ok := p.numbers[shard]
	if !ok {
		p.numbers[shard] = -1
		if why := unsafeName(shard); why != "" {
			return p.reported("SH003", tensor, "shard name %s %s", clip(shard), why)
		}
		if !strings.HasSuffix(shard, shardSuffix) {
			return p.reported("SH005", tensor, "shard %s is not a %s file", clip(shard), shardSuffix)
		}
		if len(p.ix.Shards) == maxShards {
			return &rule.Unsupported{File: p.ix.Name, What: fmt.Sprintf("index of more than %d shards", maxShards)}
		}
		n = int32(len(p.ix.Shards))
		p.numbers[shard] = n
		p.ix.Shards = append(p.ix.Shards, shard)
	}
	if n < 0 {
		return nil
	}
	p.ix.at[tensor] = int32(len(p.ix.Entries))
	p.ix.Entries = append(p.ix.Entries, Entry{tensor, n})
	return nil
}

func (p *indexParser) wrongKind(tensor, what string) error {
	at := p.scan.Pos()
	if err := p.scan.Skip(); err != nil {
		return err
	}
	return p.reported("SH002", tensor, "%s (byte %d)", what, at)
}

func clip(s string) string { return fmt.Sprintf("%+.200q", s) }

// unsafeName says why a shard name must not be joined to the folder, or "".
// The check is on the text alone, and the same on every system: links inside
// the folder may lead out of it, as those of the Hugging Face cache do.
func unsafeName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxShardName:
		return fmt.Sprintf("is %d bytes long, at most %d are allowed", len(name), maxShardName)
	case strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || 0x7F <= r && r < 0xA0 }):
		return "holds control characters"
	case strings.ContainsAny(name, `\`):
		return "holds a backslash"
	case strings.Contains(name, ":"):
		return "holds a drive or a scheme"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "":
			return "is absolute or has an empty part"
		case ".", "..":
			return "holds a " + part + " part"
		}
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) { // devices such as NUL on Windows
		return "is not the name of a file on this system"
	}
	return ""
}

// Shard returns the shard that the index names for a tensor.
func (x *Index) Shard(tensor string) (string, bool) {
	i, ok := x.at[tensor]
	if !ok {
		return "", false
	}
	return x.Shards[x.Entries[i].Shard], true
}

// TotalSize returns metadata.total_size; ok is false if it is missing or no
// integer.
func (x *Index) TotalSize() (size int64, ok bool) {
	v, _ := x.Metadata.Lookup("total_size")
	if v.Kind != strictjson.Number {
		return 0, false
	}
	n, err := strconv.ParseInt(v.Text, 10, 64)
	return n, err == nil
}

// openIndex reads an index of the folder and opens its shards.
func (c *Checkpoint) openIndex(name string) error {
	path := filepath.Join(c.dir, name)
	data, err := readLimited(path, maxIndex, "SH015")
	if err != nil {
		return err
	}
	ix, err := CheckIndex(data, path, c.report)
	if err != nil {
		return err
	}
	ix.Name = name
	c.index = ix
	for _, shard := range ix.Shards {
		if err := c.addOfIndex(path, shard); err != nil {
			return err
		}
	}
	return nil
}

// addOfIndex opens a shard that the index at path names.
func (c *Checkpoint) addOfIndex(path, shard string) error {
	full := filepath.Join(c.dir, filepath.FromSlash(shard))
	info, err := os.Stat(full)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.absent[shard] = true
		return c.report(fault("SH004", path, "", "shard %s: %w", clip(shard), fs.ErrNotExist))
	case err == nil && !info.Mode().IsRegular():
		c.absent[shard] = true
		return c.report(fault("SH005", full, "", "not a regular file"))
	}
	return c.add(shard, full)
}

// readLimited reads a small regular file whole; a bigger one breaks a rule.
func readLimited(path string, most int64, id rule.ID) ([]byte, error) {
	f, info, err := safetensors.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > most {
		return nil, fault(id, path, "", "%d bytes, at most %d are read", info.Size(), most)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// checkIndex holds the index against the shards.
func (c *Checkpoint) checkIndex() error {
	file := filepath.Join(c.dir, c.index.Name)
	for _, e := range c.index.Entries {
		p, ok := c.places[e.Tensor]
		want := c.index.Shards[e.Shard]
		var err error
		switch {
		case !ok && !c.absent[want]:
			err = c.report(fault("SH006", file, e.Tensor, "in no shard, the index says %q", want))
		case ok && c.shards[p.shard].Name != want && !c.absent[want]:
			err = c.report(fault("SH009", file, e.Tensor, "in shard %q, the index says %q", c.shards[p.shard].Name, want))
		}
		if err != nil {
			return err
		}
	}
	if len(c.absent) > 0 { // sizes and numbers of what is there say nothing
		return nil
	}
	if len(c.names) > len(c.index.Entries) {
		for _, n := range c.names {
			if _, ok := c.index.at[n]; !ok {
				c.warnTensor("SH007", file, n, "not in the index")
			}
		}
	}
	c.checkTotal(file)
	c.checkNumbers(file, c.index.Shards)
	return c.checkStrays()
}

func (c *Checkpoint) checkTotal(file string) {
	v, ok := c.index.Metadata.Lookup("total_size")
	if !ok {
		return
	}
	var want int64
	for _, s := range c.shards {
		want += s.File.Header().DataSize()
	}
	switch have, ok := c.index.TotalSize(); {
	case !ok && v.Kind == strictjson.Number:
		c.warn("SH011", file, "total_size is %.40s, expected an integer", v.Text)
	case !ok:
		c.warn("SH011", file, "total_size is %s, expected an integer", v.Kind)
	case have != want:
		c.warn("SH010", file, "total_size is %d, the shards hold %d tensor bytes", have, want)
	}
}

// checkNumbers warns if the shards named k-of-n are not 1 to n.
func (c *Checkpoint) checkNumbers(file string, shards []string) {
	total, have := 0, []int{}
	for _, s := range shards {
		_, k, n, ok := numbered(s)
		switch {
		case !ok:
			continue
		case total != 0 && n != total:
			c.warn("SH012", file, "shard %q is of %d, others are of %d", s, n, total)
			return
		}
		total, have = n, append(have, k)
	}
	slices.Sort(have)
	switch {
	case total == 0:
	case len(have) != total || have[0] != 1 || have[total-1] != total || len(slices.Compact(have)) != total:
		c.warn("SH012", file, "%d shards named as parts of %d, or their numbers are not 1 to %d", len(have), total, total)
	}
}

// numbered splits a shard name such as "model-00001-of-00002.safetensors".
func numbered(name string) (stem string, k, n int, ok bool) {
	base := strings.TrimSuffix(name, shardSuffix)
	base, of, found := cutLast(base, "-of-")
	stem, part, dash := cutLast(base, "-")
	k, err1 := strconv.Atoi(part)
	n, err2 := strconv.Atoi(of)
	ok = found && dash && err1 == nil && err2 == nil && k >= 0 && n > 0
	return stem, k, n, ok
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// checkStrays warns of safetensors files that the index does not name.
func (c *Checkpoint) checkStrays() error {
	files, err := weightFiles(c.dir)
	if err != nil {
		return err
	}
	single := strings.TrimSuffix(c.index.Name, ".index.json")
	own := make(map[string]bool, len(c.index.Shards))
	for _, s := range c.index.Shards {
		own[s] = true
	}
	for _, f := range files {
		switch {
		case own[f] || isAdapterFile(f):
		case f == single && c.chosen:
		case f == single:
			c.warn("SH013", filepath.Join(c.dir, f), "beside %s, which goes first", c.index.Name)
		default:
			c.warn("SH018", filepath.Join(c.dir, f), "not named by %s", c.index.Name)
		}
	}
	return nil
}
