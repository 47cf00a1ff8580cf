package report

import "fmt"

// vocabulary is what the renderers themselves say, in one language.
type vocabulary struct {
	changes, ago, asWith                                  string
	kinds, actions                                        map[string]string // of changes; what is not there is said as it is
	probe, playbooks                                      [2]string         // one, several
	unseen, chosenWhen                                    string
	lang, thisHost, looked, profile                       string
	ofSeverity                                            map[string][2]string
	healthy, found, notAll, noneApply, comma              string
	severity, badge, risk, areaNames                      map[string]string
	pending, mustHold, unchecked, notChecked              string
	notHere, objects, passed, needsRoot                   string
	fix, byHand, confirm, noUndo, withheld, explains, see string
	why, clause, verdict, facts, checks, probes           string
	verdicts                                              map[string]string
	areaName, playbook, reading, took, status             string
	reasons                                               func() []phrase // what reasons are in this language; nil: as they come
}

var english = &vocabulary{
	changes:    "Changed before",
	asWith:     "the same as before %s",
	ago:        "%s ago: %s %s %s",
	lang:       "en",
	thisHost:   "this host",
	profile:    "profile %s: %s",
	unseen:     "nothing of it can be seen from inside a host",
	chosenWhen: "%s; chosen when %s",
	looked:     "%s, %.1f s, %s, %s",
	probe:      [2]string{"1 probe", "%d probes"}, playbooks: [2]string{"1 playbook", "%d playbooks"},
	healthy:   "healthy, nothing found",
	found:     "%d found: ",
	notAll:    "nothing found, but %d of %d could not be checked",
	noneApply: "nothing found, but 0 of %d apply here",
	comma:     ", ",
	severity:  map[string]string{"critical": "critical", "warning": "warning", "info": "info"},
	ofSeverity: map[string][2]string{
		"critical": {"1 critical", "%d critical"}, "warning": {"1 warning", "%d warnings"}, "info": {"1 info", "%d info"},
	},
	badge: map[string]string{"critical": "CRITICAL", "warning": "WARNING", "info": "INFO"},
	risk: map[string]string{
		"harmless": "harmless: no effect on service", "reversible": "reversible: changes something, no interruption",
		"disruptive": "disruptive: a short interruption", "destructive": "destructive: something is lost",
	},
	areaNames: map[string]string{
		"compute": "Compute", "memory": "Memory", "storage": "Storage", "network": "Network", "access": "Access", "time": "Time",
		"services": "Services", "kernel": "Kernel",
	},
	pending:    "Not counted yet",
	mustHold:   "must hold for %s",
	unchecked:  "Not checked (%d)",
	notChecked: "not checked",
	notHere:    "does not apply here: ",
	needsRoot:  "needs root",
	objects:    "%d checked",
	passed:     "Passed %d: ",
	fix:        "Fix",
	byHand:     "By hand",
	confirm:    "To make sure:",
	noUndo:     "cannot be undone",
	withheld:   "left out: ",
	explains:   "Explains",
	see:        "See",
	why:        "Why",
	clause:     "Clause", verdict: "Verdict", facts: "Facts", checks: "Checks", probes: "Probes",
	verdicts: map[string]string{"yes": "found", "no": "passed", "unknown": "not checked", "n/a": "does not apply"},
	areaName: "Area", playbook: "Playbook", reading: "Reading", took: "Took", status: "Status",
}

var chinese = &vocabulary{
	changes: "此前的变更",
	asWith:  "与 %s 相同",
	ago:     "%s 前：%s %s %s",
	kinds: map[string]string{
		"package": "软件包", "unit": "单元", "key-file": "关键文件", "sysctl": "内核参数", "account": "账号", "kernel": "内核", "cron": "计划任务", "config": "配置",
	},
	actions: map[string]string{
		"installed": "已安装", "upgraded": "已升级", "downgraded": "已降级", "removed": "已删除", "written": "被写入", "booted": "启动",
	},
	lang:       "zh",
	reasons:    chineseReasons,
	thisHost:   "本机",
	profile:    "诊断集 %s：%s",
	unseen:     "在主机内部均不可见",
	chosenWhen: "%s；当 %s 时选用",
	looked:     "%s，%.1f 秒，%s，%s",
	probe:      [2]string{"1 个探针", "%d 个探针"}, playbooks: [2]string{"1 条规则", "%d 条规则"},
	healthy:    "健康，未发现问题",
	found:      "发现 %d 个问题：",
	notAll:     "未发现问题，但 %[2]d 项中有 %[1]d 项无法检查",
	noneApply:  "未发现问题，但 %d 项均不适用于本机",
	comma:      "，",
	severity:   map[string]string{"critical": "严重", "warning": "警告", "info": "提示"},
	ofSeverity: map[string][2]string{"critical": {"1 严重", "%d 严重"}, "warning": {"1 警告", "%d 警告"}, "info": {"1 提示", "%d 提示"}},
	badge:      map[string]string{"critical": "严重", "warning": "警告", "info": "提示"},
	risk: map[string]string{
		"harmless": "无害：不影响服务", "reversible": "可逆：有改动，不中断服务", "disruptive": "会短暂中断服务", "destructive": "有损：会丢失数据或状态",
	},
	areaNames: map[string]string{
		"compute": "计算", "memory": "内存", "storage": "存储", "network": "网络", "access": "登录", "time": "时间", "services": "服务", "kernel": "内核",
	},
	pending:    "暂不计入",
	mustHold:   "须持续 %s",
	unchecked:  "未检查（%d）",
	notChecked: "未检查",
	notHere:    "不适用于本机：",
	needsRoot:  "需要 root 权限",
	objects:    "已检查 %d 个",
	passed:     "通过 %d 项：",
	fix:        "修复",
	byHand:     "手工处理",
	confirm:    "进一步确认：",
	noUndo:     "无法撤销",
	withheld:   "略去：",
	explains:   "由此引起",
	see:        "参见",
	why:        "依据",
	clause:     "条件", verdict: "判断", facts: "事实", checks: "检查项", probes: "探针",
	verdicts: map[string]string{"yes": "发现", "no": "通过", "unknown": "未检查", "n/a": "不适用"},
	areaName: "领域", playbook: "规则", reading: "读数", took: "耗时", status: "状态",
}

func (p *page) words() *vocabulary { return vocabularyOf(p.Lang) }

// vocabularyOf is the vocabulary of a language.
func vocabularyOf(lang string) *vocabulary {
	if lang == "zh" {
		return chinese
	}
	return english
}

func (v *vocabulary) area(name string) string {
	if s := v.areaNames[name]; s != "" {
		return s
	}
	return name
}

// counted is a number with its noun.
func counted(n int, noun [2]string) string {
	if n == 1 {
		return noun[0]
	}
	return fmt.Sprintf(noun[1], n)
}
