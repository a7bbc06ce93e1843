package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	indexName = "model.safetensors.index.json"
	shard1    = "model-00001-of-00002.safetensors"
	shard2    = "model-00002-of-00002.safetensors"
)

// a and b are the shards that indexes of the cases name.
func shardFiles() map[string]string {
	return map[string]string{shard1: string(File(Object(one("a")), 8)), shard2: string(File(Object(one("b")), 8))}
}

// Index returns an index of pairs of tensor and shard.
func Index(metadata string, pairs ...string) string {
	var m []string
	for i := 0; i < len(pairs); i += 2 {
		m = append(m, fmt.Sprintf("%q:%q", pairs[i], pairs[i+1]))
	}
	return `{"metadata":` + metadata + `,"weight_map":{` + strings.Join(m, ",") + `}}`
}

// folder makes a folder of the two shards, an index, and more files; a file
// of no content is left out.
func folder(index string, more ...string) func(string) (string, error) {
	return func(dir string) (string, error) {
		files := shardFiles()
		if index != "" {
			files[indexName] = index
		}
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
			if more[i+1] == "" {
				delete(files, more[i])
			}
		}
		return dir, write(dir, files)
	}
}

// shardCases break the index or the set of shards.
func shardCases() []Case {
	r := func(rule, name string, make func(string) (string, error)) Case {
		return Case{Name: strings.ToLower(rule) + "_" + name, Want: rule, Make: make}
	}
	ok := func(name string, make func(string) (string, error), warn ...string) Case {
		return Case{Name: "shards_" + name, Want: "accept", Make: make, Warn: warn}
	}
	size := `{"total_size":16}`
	good := Index(size, "a", shard1, "b", shard2)
	path := func(name, shard string) Case { return r("SH003", name, folder(Index(size, "a", shard))) }
	link := func(from, to string, index string) func(string) (string, error) {
		return func(dir string) (string, error) {
			if _, err := folder(index)(dir); err != nil {
				return "", err
			}
			os.Remove(filepath.Join(dir, from))
			return dir, os.Symlink(to, filepath.Join(dir, from))
		}
	}
	return []Case{
		ok("plain", folder(good)),
		ok("no_metadata", folder(`{"weight_map":{"a":"`+shard1+`","b":"`+shard2+`"}}`)),
		ok("metadata_null", folder(Index("null", "a", shard1, "b", shard2))),
		ok("unknown_members", folder(`{"version":1,"x":[{}],"weight_map":{"a":"`+shard1+`","b":"`+shard2+`"}}`)),
		ok("in_subfolder", func(dir string) (string, error) {
			return dir, write(dir, map[string]string{indexName: Index(`{"total_size":8}`, "a", "sub/x.safetensors"), "sub/x.safetensors": string(File(Object(one("a")), 8))})
		}),
		r("SH001", "empty", folder(" ")),
		r("SH001", "not_json", folder("weight_map: {}")),
		r("SH001", "list", folder("[]")),
		r("SH001", "byte_order_mark", folder("\uFEFF"+good)),
		r("SH001", "bad_utf8", folder(strings.Replace(good, `"a"`, "\"a\xFF\"", 1))),
		r("SH001", "tensor_twice", folder(Index(size, "a", shard1, "b", shard2, "a", shard2))),
		r("SH001", "tensor_twice_by_escape", folder(strings.Replace(good, `"b"`, `"\u0061"`, 1))),
		r("SH001", "weight_map_twice", folder(`{"weight_map":{"a":"`+shard1+`"},"weight_map":{"b":"`+shard2+`"}}`)),
		r("SH001", "metadata_key_twice", folder(Index(`{"total_size":16,"total_size":8}`, "a", shard1, "b", shard2))),
		r("SH001", "nan", folder(Index(`{"total_size":NaN}`, "a", shard1, "b", shard2))),
		r("SH001", "lone_surrogate", folder(strings.Replace(good, `"b"`, `"\ud800"`, 1))),
		r("SH001", "deep", folder(`{"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,"weight_map":{}}`)),
		r("SH001", "bytes_behind", folder(good+"x")),
		r("SH002", "missing", folder(`{"metadata":{}}`)),
		r("SH002", "empty", folder(`{"weight_map":{}}`)),
		r("SH002", "list", folder(`{"weight_map":[]}`)),
		r("SH002", "null", folder(`{"weight_map":null}`)),
		r("SH002", "number", folder(`{"weight_map":{"a":1}}`)),
		r("SH002", "capitals", folder(strings.Replace(good, "weight_map", "Weight_Map", 1))),
		path("empty", ""),
		path("dot", "."),
		path("parent", "../x.safetensors"),
		path("parent_inside", "a/../x.safetensors"),
		path("parent_twice", "../../etc/passwd.safetensors"),
		path("dot_part", "./x.safetensors"),
		path("absolute", "/etc/x.safetensors"),
		path("empty_part", "a//x.safetensors"),
		path("backslash", `..\x.safetensors`),
		path("drive", "C:x.safetensors"),
		path("scheme", "https://example.org/x.safetensors"),
		r("SH003", "unc", folder(Index(size, "a", `\\host\share\x.safetensors`))),
		r("SH003", "nul", folder(`{"weight_map":{"a":"x\u0000.safetensors"}}`)),
		r("SH003", "newline", folder(`{"weight_map":{"a":"x\n.safetensors"}}`)),
		path("long", strings.Repeat("x", 1024)+".safetensors"),
		r("SH004", "missing", folder(good, shard2, "")),
		r("SH004", "other_case", folder(Index(size, "a", shard1, "b", strings.ToUpper(shard2[:1])+shard2[1:]))),
		{Name: "sh004_broken_link", Want: "SH004", Make: link(shard2, "gone", good)},
		r("SH005", "other_suffix", folder(Index(size, "a", shard1, "b", "pytorch_model.bin"))),
		{Name: "sh005_device", Want: "SH005", Make: link(shard2, "/dev/zero", good)},
		{Name: "sh005_folder", Want: "SH005", Make: func(dir string) (string, error) {
			if _, err := folder(good, shard2, "")(dir); err != nil {
				return "", err
			}
			return dir, os.Mkdir(filepath.Join(dir, shard2), 0o777)
		}},
		r("SH006", "long_name", folder(Index(size, "a", shard1, "b", shard2, strings.Repeat("x", 100_000), shard2))),
		r("SH006", "not_there", folder(Index(size, "a", shard1, "b", shard2, "c", shard2))),
		r("SH009", "swapped", folder(Index(size, "a", shard2, "b", shard1))),
		r("SH008", "in_two_shards", folder(good, shard2, string(File(Object(Entry("a", "U8", "[4]", "[0,4]"), Entry("b", "U8", "[4]", "[4,8]")), 8)))),
		r("SH008", "without_index", folder("", shard2, string(File(Object(one("a")), 8)))),
		r("ST016", "shard_cut_short", folder(good, shard2, string(File(Object(one("b")), 7)))),
		r("ST024", "shard_is_a_pointer", folder(good, shard2, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")),
		{Name: "sh015_sparse", Want: "SH015", Make: func(dir string) (string, error) {
			if _, err := folder(good)(dir); err != nil {
				return "", err
			}
			return dir, os.Truncate(filepath.Join(dir, indexName), 250_000_001)
		}},
		{Name: "st033_index_is_a_pipe", Want: "ST033", Make: func(dir string) (string, error) {
			path, err := fifo(dir)
			if err != nil {
				return "", err
			}
			return dir, os.Rename(path, filepath.Join(dir, indexName))
		}},
		{Name: "index_of_16_million", Want: "unsupported", Big: true, Make: func(dir string) (string, error) {
			var b strings.Builder
			b.WriteString(`{"weight_map":{`)
			for i := range 16_000_000 {
				fmt.Fprintf(&b, `"%x":"b.safetensors",`, i)
				if b.Len() > 249_000_000 {
					break
				}
			}
			b.WriteString(`"x":"y"}}`)
			return dir, write(dir, map[string]string{indexName: b.String()})
		}},
		{Name: "index_metadata_of_80_million", Want: "unsupported", Big: true, Make: func(dir string) (string, error) {
			return dir, write(dir, map[string]string{indexName: `{"metadata":[` + strings.Repeat("[],", 80_000_000) + `[]]}`})
		}},
		ok("tensor_not_mapped", folder(Index(`{}`, "a", shard1, "b", shard2), shard2, string(File(Object(Entry("b", "U8", "[4]", "[0,4]"), Entry("c", "U8", "[4]", "[4,8]")), 8))), "SH007"),
		ok("total_size_wrong", folder(Index(`{"total_size":17}`, "a", shard1, "b", shard2)), "SH010"),
		ok("total_size_fraction", folder(Index(`{"total_size":16.0}`, "a", shard1, "b", shard2)), "SH011"),
		ok("total_size_string", folder(Index(`{"total_size":"16"}`, "a", shard1, "b", shard2)), "SH011"),
		ok("total_size_huge", folder(Index(`{"total_size":1e400}`, "a", shard1, "b", shard2)), "SH011"),
		ok("numbers_incomplete", folder(Index(`{}`, "a", shard1), shard2, ""), "SH012"),
		ok("numbers_disagree", folder(Index(`{}`, "a", shard1, "b", "model-00002-of-00003.safetensors"), shard2, "",
			"model-00002-of-00003.safetensors", string(File(Object(one("b")), 8))), "SH012"),
		ok("single_file_beside", folder(good, "model.safetensors", string(File(Object(one("a")), 8))), "SH013"),
		ok("stray_file", folder(good, "consolidated.safetensors", "anything"), "SH018"),
		ok("hard_link", func(dir string) (string, error) {
			if err := write(dir, map[string]string{indexName: Index(`{}`, "a", shard1), shard1: string(File(Object(one("a")), 8))}); err != nil {
				return "", err
			}
			return dir, os.Link(filepath.Join(dir, shard1), filepath.Join(dir, shard2))
		}, "SH018"),
		ok("mixed_dtypes", folder(good, shard2, string(File(Object(Entry("b", "BF16", "[4]", "[0,8]")), 8))), "SH016"),
	}
}

// folderCases are folders without an index.
func folderCases() []Case {
	model := string(File(Object(one("a")), 8))
	c := func(want, name string, files map[string]string, warn ...string) Case {
		return Case{Name: "folder_" + name, Want: want, Warn: warn, Make: func(dir string) (string, error) { return dir, write(dir, files) }}
	}
	return []Case{
		c("error", "empty", nil),
		c("error", "pickle_only", map[string]string{"pytorch_model.bin": "x"}),
		c("error", "adapter", map[string]string{"adapter_model.safetensors": model, "adapter_config.json": "{}"}),
		c("accept", "single", map[string]string{"model.safetensors": model, "config.json": "{}"}),
		c("accept", "single_and_stray", map[string]string{"model.safetensors": model, "model.fp16.safetensors": model}, "SH018"),
		c("accept", "only_file", map[string]string{"anything.safetensors": model}),
		c("accept", "diffusers", map[string]string{"diffusion_pytorch_model.safetensors": model, "config.json": "{}"}),
		c("accept", "diffusers_index", map[string]string{
			"diffusion_pytorch_model.safetensors.index.json":     Index(`{}`, "a", "diffusion_pytorch_model-00001-of-00001.safetensors"),
			"diffusion_pytorch_model-00001-of-00001.safetensors": model}),
		c("accept", "numbered_without_index", shardFiles()),
		c("accept", "numbered_incomplete", map[string]string{shard1: model}, "SH012"),
		c("error", "two_indexes", map[string]string{"x.safetensors.index.json": "{}", "y.safetensors.index.json": "{}"}),
		{Name: "folder_of_the_hub_cache", Want: "accept", Make: func(dir string) (string, error) {
			hash := strings.Repeat("0123456789", 4)
			if err := write(dir, map[string]string{"blobs/aa": model}); err != nil {
				return "", err
			}
			snapshot := filepath.Join(dir, "snapshots", hash)
			if err := os.MkdirAll(snapshot, 0o777); err != nil {
				return "", err
			}
			return snapshot, os.Symlink("../../blobs/aa", filepath.Join(snapshot, "model.safetensors"))
		}},
	}
}
