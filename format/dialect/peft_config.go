package dialect

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
)

// peftConfig is what adapter_config.json says, with PEFT's defaults for what
// it leaves out (LoraConfig of PEFT 0.21, src/peft/tuners/lora/config.py).
type peftConfig struct {
	file  string
	value strictjson.Value // as read, unknown fields included

	peftType     string
	r            int
	alpha        float64
	rankPattern  patterns
	alphaPattern patterns
	rsLoRA, dora bool
	fanInFanOut  bool
	loraBias     bool
	bias         string
	narrow       narrowing
	saved        []string // modules_to_save
	parameters   []string // target_parameters
	modules      []string // target_modules, if a list
	// modulePattern is target_modules, if a pattern that RE2 understands.
	modulePattern *regexp.Regexp
	tokens        []tokenIndices
	base          string
	version       string
	init          string // init_lora_weights, if it changed the base
	patternSize   int    // instructions of the compiled patterns

	refusals []*rule.Unsupported
	warnings []*rule.Error
	report   rule.Report
	left     []string        // paths of modules that broke a rule
	unread   map[string]bool // fields that broke a rule: nothing follows from them
}

// tokenIndices are the trained rows of the embedding whose path ends in module.
type tokenIndices struct {
	module string // "" for the input embedding
	rows   []int
}

// names reports whether the indices are those of the embedding at path.
func (t tokenIndices) names(path string) bool {
	return t.module == "" || t.module == path || strings.HasSuffix(path, "."+t.module)
}

// Limits of adapter_config.json: AD002 and AD004.
const (
	maxConfigBytes = 8 << 20
	maxRank        = 1 << 20
)

func parsePEFTConfig(file string, data []byte) (*peftConfig, error) {
	return checkPEFTConfig(file, data, rule.Stop)
}

// checkPEFTConfig reports every field that breaks a rule. It fails where the
// rest of the config cannot be read.
func checkPEFTConfig(file string, data []byte, report rule.Report) (*peftConfig, error) {
	c := &peftConfig{file: file, r: 8, alpha: 8, bias: "none", report: report, unread: map[string]bool{}}
	if len(data) > maxConfigBytes {
		return nil, c.fault("AD002", "", "config of %d bytes, at most %d are read", len(data), maxConfigBytes)
	}
	v, err := strictjson.Decode(data)
	if err != nil {
		return nil, c.fault("AD002", "write the config as plain JSON", "not strict JSON: %w", err)
	}
	if v.Kind != strictjson.Object {
		return nil, c.fault("AD002", "", "top level is not an object")
	}
	c.value = v
	if err := c.readType(); err != nil {
		return nil, err
	}
	if c.peftType != "LORA" {
		c.refuse(fmt.Sprintf("peft_type %q", c.peftType), refusedTypes[c.peftType])
		return c, nil
	}
	for _, m := range v.Members {
		if err := c.broken(c.field(m.Name, m.Value)); err != nil {
			return nil, err
		}
	}
	if err := c.broken(c.combinations()); err != nil {
		return nil, err
	}
	return c, nil
}

// combinations refuses what LoraConfig itself refuses (its __post_init__).
func (c *peftConfig) combinations() error {
	has := func(name string) bool { v, ok := c.value.Lookup(name); return ok && v.Kind != strictjson.Null }
	targets, _ := c.value.Lookup("target_modules")
	for _, name := range []string{"layers_to_transform", "layers_pattern"} {
		if targets.Kind == strictjson.String && has(name) {
			return c.fault("AD003", "", "%s beside a target_modules that is a regular expression", name)
		}
	}
	init, _ := c.value.Lookup("init_lora_weights")
	switch pattern, _ := c.value.Lookup("layers_pattern"); {
	case !isEmpty(pattern) && !has("layers_to_transform"):
		return c.fault("AD003", "", "layers_pattern without layers_to_transform")
	case c.loraBias && c.dora:
		return c.fault("AD003", "", "lora_bias beside use_dora")
	case c.loraBias && init.Kind == strictjson.String:
		return c.fault("AD003", "", "lora_bias beside init_lora_weights %q", init.Text)
	}
	return nil
}

// broken reports an error that is a broken rule, and returns others.
func (c *peftConfig) broken(err error) error { return reported(c.report, err) }

func reported(report rule.Report, err error) error {
	if e, ok := errors.AsType[*rule.Error](err); ok {
		return report(e)
	}
	return err
}

// readType reads peft_type, the one field that PEFT demands.
func (c *peftConfig) readType() error {
	v, ok := c.value.Lookup("peft_type")
	if !ok && c.isMLX() {
		return &rule.Unsupported{File: c.file, Rule: "AD007", What: "an adapter of mlx-lm", Hint: "its adapter_config.json has another schema than PEFT's"}
	}
	if !ok {
		return c.fault("AD006", `add "peft_type": "LORA"`, "peft_type is missing")
	}
	if v.Kind != strictjson.String {
		return c.fault("AD006", "", "peft_type is not a string")
	}
	if _, known := refusedTypes[v.Text]; v.Text != "LORA" && !known {
		return c.fault("AD006", "", "unknown peft_type %q", v.Text)
	}
	c.peftType = v.Text
	return nil
}

// isMLX knows the config of mlx-lm, which has the same name, by its fields.
func (c *peftConfig) isMLX() bool {
	for _, name := range []string{"fine_tune_type", "lora_parameters", "lora_layers"} {
		if _, ok := c.value.Lookup(name); ok {
			return true
		}
	}
	return false
}

// field reads one member. Every key that PEFT 0.21 knows has a row in
// peftFields; what is not there is kept in value and judged by unknown.
func (c *peftConfig) field(name string, v strictjson.Value) error {
	read, known := peftFields[name]
	if !known {
		c.unknown(name, v)
		return nil
	}
	if read == nil || v.Kind == strictjson.Null {
		return nil
	}
	if err := read(c, v); err != nil {
		c.unread[name] = true
		return c.fault(ruleOfField(name), "", "%s: %w", name, err)
	}
	return nil
}

func ruleOfField(name string) rule.ID {
	switch name {
	case "r":
		return "AD004"
	case "lora_alpha":
		return "AD005"
	}
	return "AD003"
}

// peftFields tells how each field of LoraConfig is read; nil: it says nothing
// about the merged model.
var peftFields = map[string]func(*peftConfig, strictjson.Value) error{
	"peft_type": nil, "auto_mapping": nil, "revision": nil, "inference_mode": nil,
	"loftq_config":    nil,
	"megatron_config": nil, "megatron_core": nil, "qalora_group_size": nil,
	"monteclora_config": nil, "runtime_config": nil, "merge_weights": nil,

	"task_type": readTask, "lora_dropout": readDropout, "ensure_weight_tying": flag(func(c *peftConfig) *bool { return new(bool) }),
	"eva_config": readObject, "corda_config": readObject, "lora_ga_config": readObject, "velora_config": readObject,
	"exclude_modules": readExcluded, "layers_to_transform": readLayers, "layers_pattern": readLayersPattern,

	"base_model_name_or_path": text(func(c *peftConfig) *string { return &c.base }),
	"peft_version":            text(func(c *peftConfig) *string { return &c.version }),
	"bias":                    readBias,
	"r":                       readRank,
	"lora_alpha":              readAlpha,
	"rank_pattern":            pattern(func(c *peftConfig) *patterns { return &c.rankPattern }, true),
	"alpha_pattern":           pattern(func(c *peftConfig) *patterns { return &c.alphaPattern }, false),
	"use_rslora":              flag(func(c *peftConfig) *bool { return &c.rsLoRA }),
	"use_dora":                flag(func(c *peftConfig) *bool { return &c.dora }),
	"fan_in_fan_out":          flag(func(c *peftConfig) *bool { return &c.fanInFanOut }),
	"lora_bias":               flag(func(c *peftConfig) *bool { return &c.loraBias }),
	"modules_to_save":         list(func(c *peftConfig) *[]string { return &c.saved }),
	"target_parameters":       list(func(c *peftConfig) *[]string { return &c.parameters }),
	"target_modules":          readTargets,
	"trainable_token_indices": readTokens,
	"init_lora_weights":       readInit,
	"lora_B_layout":           readLayout,

	"layer_replication":       refusing("layer_replication", "build the deeper base first, then train or rename the adapter for it"),
	"alora_invocation_tokens": refusing("alora_invocation_tokens (aLoRA is active for part of a prompt only)", "keep the adapter unmerged"),
	"arrow_config":            refusing("arrow_config (routed adapters)", "keep the adapters unmerged"),
	"use_bdlora":              refusing("use_bdlora (block-diagonal factors)", "merge it with PEFT"),
	"kasa_config":             refusing("kasa_config (KaSA truncates the base)", "merge it with PEFT"),
	"use_qalora":              refusingTrue("use_qalora (made for a GPTQ base)", "keep the adapter unmerged"),
	"enable_lora":             refusing("enable_lora (fused layers of PEFT before 0.3)", "load and save it with loralib first"),
}

func text(at func(*peftConfig) *string) func(*peftConfig, strictjson.Value) error {
	return func(c *peftConfig, v strictjson.Value) error {
		if v.Kind != strictjson.String {
			return fmt.Errorf("found %s, expected a string", v.Kind)
		}
		*at(c) = v.Text
		return nil
	}
}

func flag(at func(*peftConfig) *bool) func(*peftConfig, strictjson.Value) error {
	return func(c *peftConfig, v strictjson.Value) error {
		if v.Kind != strictjson.Bool {
			return fmt.Errorf("found %s, expected true or false", v.Kind)
		}
		*at(c) = v.True
		return nil
	}
}

func list(at func(*peftConfig) *[]string) func(*peftConfig, strictjson.Value) error {
	return func(c *peftConfig, v strictjson.Value) error {
		if v.Kind != strictjson.Array {
			return fmt.Errorf("found %s, expected a list of strings", v.Kind)
		}
		for _, e := range v.Elements {
			if e.Kind != strictjson.String {
				return fmt.Errorf("found %s in the list, expected strings", e.Kind)
			}
			*at(c) = append(*at(c), e.Text)
		}
		return nil
	}
}

// refusing refuses the adapter when the field has any value but null, false
// or an empty object.
func refusing(what, hint string) func(*peftConfig, strictjson.Value) error {
	return func(c *peftConfig, v strictjson.Value) error {
		if !isEmpty(v) {
			c.refuse(what, hint)
		}
		return nil
	}
}

func refusingTrue(what, hint string) func(*peftConfig, strictjson.Value) error {
	return func(c *peftConfig, v strictjson.Value) error {
		if v.Kind != strictjson.Bool {
			return fmt.Errorf("found %s, expected true or false", v.Kind)
		}
		return refusing(what, hint)(c, v)
	}
}

// isEmpty reports whether v says no more than an absent field would.
func isEmpty(v strictjson.Value) bool {
	switch v.Kind {
	case strictjson.Null:
		return true
	case strictjson.Bool:
		return !v.True
	case strictjson.String:
		return v.Text == ""
	case strictjson.Array:
		return len(v.Elements) == 0
	case strictjson.Object:
		return len(v.Members) == 0
	}
	return false
}

func readRank(c *peftConfig, v strictjson.Value) error {
	n, err := integer(v)
	if err != nil {
		return err
	}
	if n < 1 || n > maxRank {
		return fmt.Errorf("found %d, expected 1 to %d", n, maxRank)
	}
	c.r = n
	return nil
}

func readAlpha(c *peftConfig, v strictjson.Value) (err error) {
	c.alpha, err = number(v)
	return err
}

// integer reads a JSON number written without fraction or exponent.
func integer(v strictjson.Value) (int, error) {
	if v.Kind != strictjson.Number {
		return 0, fmt.Errorf("found %s, expected an integer", v.Kind)
	}
	n, err := strconv.Atoi(v.Text)
	if err != nil {
		return 0, fmt.Errorf("found %s, expected an integer", v.Text)
	}
	return n, nil
}

// number reads a finite JSON number.
func number(v strictjson.Value) (float64, error) {
	if v.Kind != strictjson.Number {
		return 0, fmt.Errorf("found %s, expected a number", v.Kind)
	}
	x, err := strconv.ParseFloat(v.Text, 64)
	if err != nil || math.IsInf(x, 0) {
		return 0, fmt.Errorf("found %s, expected a finite number", v.Text)
	}
	return x, nil
}

func readBias(c *peftConfig, v strictjson.Value) error {
	if v.Kind != strictjson.String {
		return fmt.Errorf("found %s, expected a string", v.Kind)
	}
	switch v.Text {
	case "none", "all", "lora_only":
		c.bias = v.Text
		return nil
	}
	return fmt.Errorf("found %q, expected none, all or lora_only", v.Text)
}

// readTargets reads which modules are layers of their own. The tensors say
// which modules there are; beside target_parameters the field tells layers from
// modules whose parameters are adapted.
func readTargets(c *peftConfig, v strictjson.Value) error {
	if v.Kind == strictjson.String {
		c.modulePattern, _ = compilePython(v.Text)
		return nil
	}
	return list(func(c *peftConfig) *[]string { return &c.modules })(c, v)
}

// isTargetModule matches target_modules as PEFT does: a pattern on the whole
// path, or whole components at the end of it, but for what other fields take
// from them.
func (c *peftConfig) isTargetModule(path string) bool {
	if c.narrow.drops(path, slices.Contains(c.modules, path)) != "" {
		return false
	}
	if c.modulePattern != nil {
		return c.modulePattern.MatchString(path)
	}
	return slices.ContainsFunc(c.modules, func(m string) bool { return path == m || strings.HasSuffix(path, "."+m) })
}

func readTokens(c *peftConfig, v strictjson.Value) error {
	switch v.Kind {
	case strictjson.Array:
		rows, err := indices(v)
		c.tokens = []tokenIndices{{rows: rows}}
		return err
	case strictjson.Object:
		for _, m := range v.Members {
			rows, err := indices(m.Value)
			if err != nil {
				return fmt.Errorf("%q: %w", m.Name, err)
			}
			c.tokens = append(c.tokens, tokenIndices{module: m.Name, rows: rows})
		}
		return nil
	}
	return fmt.Errorf("found %s, expected a list of integers or an object of such lists", v.Kind)
}

func indices(v strictjson.Value) ([]int, error) {
	if v.Kind != strictjson.Array {
		return nil, fmt.Errorf("found %s, expected a list of integers", v.Kind)
	}
	rows := make([]int, len(v.Elements))
	for i, e := range v.Elements {
		n, err := integer(e)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("element %d is not a row number", i)
		}
		rows[i] = n
	}
	return rows, nil
}

// plainInit reports whether an initialisation leaves the base as it was; every
// other changes it, so that the adapter alone does not describe the trained
// model. PEFT takes two of the names in any letter case.
func plainInit(name string) bool {
	return slices.Contains([]string{"", "eva", "orthogonal"}, name) || strings.EqualFold(name, "gaussian") || strings.EqualFold(name, "mica")
}

func readInit(c *peftConfig, v strictjson.Value) error {
	switch v.Kind {
	case strictjson.Bool:
		return nil
	case strictjson.String:
		if !plainInit(v.Text) {
			c.init = v.Text
			c.refuse(fmt.Sprintf("init_lora_weights %q (the base was changed before training)", v.Text), initHint(v.Text))
		}
		return nil
	}
	return fmt.Errorf("found %s, expected true, false or a name", v.Kind)
}

// initHint says how an adapter whose initialisation changed the base becomes a
// plain one.
func initHint(init string) string {
	if init == "pissa" || strings.EqualFold(init, "olora") {
		return "loratool plain makes it a plain LoRA, with the adapter as it was before training (--init) or from the base (--base)"
	}
	return "loratool plain makes it a plain LoRA, with the adapter as it was before training (--init)"
}

// readLayout reads the marker by which unsloth-zoo tells its old expert-major
// columns of lora_B from PEFT's rank-major ones, the only ones that are read.
func readLayout(c *peftConfig, v strictjson.Value) error {
	if v.Kind != strictjson.String {
		return fmt.Errorf("found %s, expected a string", v.Kind)
	}
	expert, rank := strings.Contains(v.Text, "expert"), strings.Contains(v.Text, "rank")
	if expert || !rank {
		c.refuse(fmt.Sprintf("lora_B_layout %q", v.Text), "save the adapter again with a current unsloth-zoo, which writes PEFT's layout")
	}
	return nil
}

// unknown judges a field that PEFT 0.21 does not know. PEFT drops it with a
// warning; a switch that is on may change the delta, so it is refused.
func (c *peftConfig) unknown(name string, v strictjson.Value) {
	for known := range peftFields {
		if strings.EqualFold(known, name) {
			c.warn("AD035", "field %q differs from the known field %q by case only and is not read", name, known)
			return
		}
	}
	if isEmpty(v) {
		return
	}
	if strings.HasPrefix(name, "use_") && v.Kind == strictjson.Bool || strings.HasSuffix(name, "_config") && v.Kind == strictjson.Object {
		c.refuse(fmt.Sprintf("unknown field %q is switched on", name), "update loratool, or remove the field if it has no meaning")
		return
	}
	c.warn("AD036", "unknown field %q is kept but not read", name)
}

func (c *peftConfig) refuse(what, hint string) {
	c.refusals = append(c.refusals, &rule.Unsupported{File: c.file, Rule: "AD007", What: what, Hint: hint})
}

func (c *peftConfig) warn(id rule.ID, format string, args ...any) {
	c.warnings = append(c.warnings, &rule.Error{File: c.file, Rule: id, Err: fmt.Errorf(format, args...)})
}

func (c *peftConfig) fault(id rule.ID, hint, format string, args ...any) error {
	return &rule.Error{File: c.file, Rule: id, Hint: hint, Err: fmt.Errorf(format, args...)}
}
