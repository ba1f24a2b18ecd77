// The registry's images, to look at. Lists come from the index (/-/...), details live from the registry (/v2/...).
// Names, labels and commands come from whoever pushes: they become text, never HTML, and nothing that they say is loaded.

const TEXTS = {
  en: {
    all: "All repositories", also: ["Also in 1 image", "Also in {n} images"], alsoMany: "Also in {n} images or more", alsoTagged: "Also tagged",
    annotations: "Annotations", architecture: "Platform", artifact: "artifact", attached: "Attached to this image", attachedMany: "The first {n} of an image are listed.", attestation: "attestation",
    author: "Author", belongs: "Belongs to", byDigest: "by digest: always this image", byTag: "by tag", cache: "cache", cacheOf: "cache of {upstream}", caches: "Caches", certificate: "Certificate",
    certificateEnd: ["expires in 1 day", "expires in {n} days"], certificateEnded: "has expired", certificateNone: "none: plain HTTP", command: "Command",
    configuration: "Configuration", configNotCached: "It is not in the cache.", copied: "Copied", copy: "Copy", copyThis: "Copy {what}", created: "Built", damaged: "damaged", digest: "Digest",
    directory: "Working directory", entrypoint: "Entrypoint", environment: "Environment", fetched: "Fetched", files: "Files", filterTags: "Filter tags",
    found: ["1 repository matches", "{n} repositories match"], free: "free", index: "index",
    json: "Manifest as JSON", labels: "Labels", layer: ["1 layer", "{n} layers"], layers: "Layers", loading: "Loading …",
    more: "Show {n} more of {left}", name: "Name", noCommand: "The command is not known.", noLayers: "This image has no layers.",
    noMatch: "No repository has “{text}” in its name.", noTagMatch: "No tag has “{text}” in its name.", none: "none", noneYet: "No images here yet",
    notCached: ["1 more platform is not in the cache.", "{n} more platforms are not in the cache."],
    noneYetText: "There are none, or none that you may read.",
    push: "With Docker, this pushes the first one; use any image that “docker images” shows:", pushAfter: "It appears here within a minute.", otherTags: ["1 tag of a signature or another attachment", "{n} tags of signatures and other attachments"],
    noTags: "This repository has no tags any more.", now: "Running now", ok: "ok",
    old: "This image has a format from before 2017, which this page cannot show. Push it again with a current tool.", failed: "failed",
    platforms: "Platforms", ports: "Ports", problems: "Needs attention", pull: "Pull", pushed: "Pushed", pushedAgo: "last push {ago}",
    recent: "Recently pushed", registry: "Registry", gateway: "Gateway", repository: ["1 repository", "{n} repositories"], repositories: "Repositories",
    retention: "Retention would delete next", retentionNone: "Nothing: the rules keep every tag.", result: "Result", run: "Task",
    runs: "Maintenance tasks", reason: "Reason", message: "Message", runNone: "no run yet", sbom: "SBOM", search: "Search repositories",
    showAll: ["Show all of it", "Show all {n} characters"], signature: "signature", size: "Size", skip: "Skip to the content",
    status: "Status", stop: "Stop signal", storage: "Storage", healthcheck: "Health check", tag: ["1 tag", "{n} tags"], tagName: "Tag",
    standby: "Standby of", tags: "Tags", type: "Type", used: "used", userNow: "Signed in as {user}", user: "User", userRoot: "root, as no user is set", volumes: "Volumes",
    waiting: "Pushes wait until it has ended.", well: "All is well.", when: "When", "collect-garbage": "Garbage collection",
    "apply-retention": "Retention", "back-up": "Backup", "check-backup": "Check of the backup", "repair-storage": "Storage repair",
    "renew-certificate": "Certificate renewal", "trim-caches": "Cache trimming", "feed-standbys": "Copy to standbys", retry: "Try again", e401: "You are not signed in",
    e401Text: "Reload the page and enter your user name and password.", e403: "No access",
    e403Text: "Your user may not read this repository, or it does not exist. An administrator of the registry decides who may read what.",
    e404: "Nothing here", e404Text: "There is no such repository or image. It may have been deleted, or pushed again under another digest.",
    e429: "Too many connections", e429Text: "There are too many from your address just now. This page tries again by itself.",
    e503: "The registry is not answering",
    e503Text: "Its gateway runs, the registry behind it does not answer. It may be restarting: this page tries again by itself.",
    offline: "The server cannot be reached", offlineText: "Check your network or VPN. This page tries again by itself.",
    index404: "The list is not there yet", index404Text: "The server writes it within a minute of its start. This page tries again by itself.",
    elsewhere: "Stored elsewhere", elsewhereText: "The registry refers to an object store for this, and this page loads nothing from other servers.",
    large: "Too large to show", largeText: "This is larger than such data ever is, so the page does not load it.", unreadable: "Not readable",
    unreadableText: "The answer is not what a registry says. Reload the page; if that does not help, tell an administrator.",
    other: "Something went wrong", otherText: "The server answered with status {status}.",
  },
  zh: {
    all: "全部镜像库", also: "另有 {n} 个镜像也用到这一层", alsoMany: "另有 {n} 个以上的镜像也用到这一层", alsoTagged: "同一镜像的其他标签",
    annotations: "注解", architecture: "平台", artifact: "制品", attached: "此镜像的附件", attachedMany: "每个镜像只列出前 {n} 个。", attestation: "证明", author: "作者", belongs: "属于",
    byDigest: "按摘要(始终是这个镜像)", byTag: "按标签", cache: "缓存", cacheOf: "{upstream} 的缓存", caches: "缓存", certificate: "证书", certificateEnd: "还有 {n} 天到期", certificateEnded: "已过期",
    certificateNone: "无(明文 HTTP)", command: "命令", configuration: "配置", copied: "已复制", copy: "复制", copyThis: "复制 {what}",
    created: "构建时间", damaged: "已损坏", digest: "摘要", directory: "工作目录", entrypoint: "入口点", environment: "环境变量", fetched: "获取时间", files: "文件",
    filterTags: "筛选标签", found: "找到 {n} 个镜像库", free: "可用", index: "索引", json: "清单(JSON)",
    labels: "标记(labels)", layer: "{n} 层", layers: "层", loading: "正在加载……", more: "再显示 {n} 个(还剩 {left} 个)", name: "名称",
    noCommand: "命令未知。", noLayers: "此镜像没有层。", noMatch: "没有名称含“{text}”的镜像库。", noTagMatch: "没有名称含“{text}”的标签。",
    none: "无", noneYet: "这里还没有镜像", notCached: "另有 {n} 个平台不在缓存中。", configNotCached: "不在缓存中。",
    noneYetText: "还没有镜像,或者没有您可以读取的镜像。", push: "用 Docker 这样推送第一个;“docker images”列出的任何镜像都可以:",
    pushAfter: "一分钟之内它就会出现在这里。", otherTags: "镜像附件的标签:{n} 个", noTags: "此镜像库已没有标签。", now: "正在进行", ok: "成功",
    old: "此镜像是 2017 年以前的格式,没有可显示的内容。请用现在的工具重新推送。", failed: "失败", platforms: "平台", ports: "端口",
    problems: "需要处理", pull: "拉取", pushed: "推送时间", pushedAgo: "最近一次推送:{ago}", recent: "最近推送", registry: "镜像仓库",
    gateway: "网关", repository: "{n} 个镜像库", repositories: "镜像库", retention: "保留规则接下来会删除", retentionNone: "无:规则保留所有标签。",
    result: "结果", run: "任务", runs: "维护任务", reason: "原因", message: "信息", runNone: "尚未运行", sbom: "SBOM", search: "搜索镜像库",
    showAll: "显示全部 {n} 个字符", signature: "签名", size: "大小", skip: "跳到内容", standby: "备用服务器,主服务器是", status: "仓库状况", stop: "停止信号", storage: "存储",
    healthcheck: "健康检查", tag: "{n} 个标签", tagName: "标签", tags: "标签", type: "类型", used: "已用", userNow: "当前用户:{user}", user: "用户",
    userRoot: "root(未设置用户)", volumes: "卷", waiting: "推送需等它结束。", well: "一切正常。", when: "时间", "collect-garbage": "垃圾回收",
    "apply-retention": "保留规则", "back-up": "备份", "check-backup": "备份检查", "repair-storage": "存储修复", "renew-certificate": "证书续期", "trim-caches": "缓存清理", "feed-standbys": "复制到备用服务器",
    retry: "重试", e401: "您尚未登录", e401Text: "请重新加载页面,并输入用户名和密码。", e403: "您无权查看",
    e403Text: "您的用户不能读取此镜像库,或者它不存在。谁可以读取什么,由仓库的管理员决定。", e404: "这里什么也没有",
    e404Text: "没有这个镜像库或镜像。它可能已被删除,或已以另一个摘要重新推送。", e429: "连接过多",
    e429Text: "来自您的地址的连接目前过多。此页面会自动重试。", e503: "仓库没有响应",
    e503Text: "网关在运行,但它后面的仓库没有响应,可能正在重启。此页面会自动重试。", offline: "无法连接服务器",
    offlineText: "请检查网络或 VPN。此页面会自动重试。", index404: "列表还没有生成",
    index404Text: "服务器会在启动后一分钟内生成它。此页面会自动重试。", elsewhere: "存储在别处",
    elsewhereText: "仓库把这部分指向了对象存储,而此页面不从其他服务器加载任何内容。", large: "太大,无法显示",
    largeText: "它比这类数据应有的大小大得多,所以页面没有加载它。", unreadable: "无法读取",
    unreadableText: "收到的回答不符合镜像仓库的格式。请重新加载页面;如果仍然如此,请告诉管理员。", other: "出错了",
    otherText: "服务器的回答状态码是 {status}。",
  },
};

const WANTED = (navigator.languages || [navigator.language || "en"]).find((tag) => /^(en|zh)\b/i.test(tag)) || "en";
const LANGUAGE = WANTED.slice(0, 2).toLowerCase();
const PLURAL = new Intl.PluralRules(WANTED);
const NUMBER = new Intl.NumberFormat(WANTED, { maximumFractionDigits: 1 });
const AGO = new Intl.RelativeTimeFormat(WANTED, { numeric: "auto" });
const DATE = new Intl.DateTimeFormat(WANTED, { dateStyle: "long", timeStyle: "long" });
const BY_NAME = new Intl.Collator("en", { numeric: true });

const SLICE = 200; // so many rows at a time
const MOST_ATTACHED = 100; // that the index names of an image
const OFTEN = 15000; // milliseconds for which a list is new enough
const LARGEST = 8 * 1024 * 1024; // bytes of a manifest or a configuration; the registry takes manifests of 4 MiB
const TEXT_SHOWN = 600; // characters of a label and the like
const NAME = /^[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$/;
const REFERENCE = /^(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|[a-z0-9+._-]+:[a-f0-9]+)$/;
const DIGEST = /^[a-z0-9+._-]+:[a-f0-9]+$/;
const ATTACHED_TAG = /^(sha256|sha512)-([a-f0-9]+)(?:\..+)?$/; // cosign's
const MANIFESTS = [
  "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");
const IMAGE_CONFIGS = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
// What is shown as an escape, because a reader would not see that it is there, or would read another text because of it.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

const at = (id) => document.getElementById(id);
const main = at("main");
const state = { repositories: null, failure: null, loaded: 0, level: "", user: "", shared: null, skew: 0, open: new Set() };

// Text and elements -----------------------------------------------------------------------------------------------

function t(key, values = {}) {
  let text = TEXTS[LANGUAGE][key];
  if (Array.isArray(text)) text = text[PLURAL.select(values.n) === "one" ? 0 : 1];
  const put = (value) => (typeof value === "number" ? NUMBER.format(value) : String(value));
  return text.replace(/\{(\w+)\}/g, (_, name) => put(values[name]));
}

// Make an element: functions are listeners, all else attributes; false and null are left out.
function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function plain(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value) || "";
  return text.replace(UNSEEN, (character) => "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0"));
}

// A text of somebody's, in an element of its own; a long one is cut until one asks for all of it.
function foreign(value, name = "span") {
  const text = plain(value);
  const element = h(name, { class: "foreign", translate: "no" }, text.slice(0, TEXT_SHOWN));
  if (text.length <= TEXT_SHOWN) return element;
  const all = () => element.replaceChildren(text);
  element.append("… ", h("button", { type: "button", class: "quiet", click: all }, t("showAll", { n: text.length })));
  return element;
}

const list = (value) => (Array.isArray(value) ? value : []);
const dict = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});
const number = (value) => (typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : 0);
const now = () => (Date.now() + state.skew) / 1000;

function size(bytes) {
  let [value, unit] = [number(bytes), 0];
  for (; value >= 1024 && unit < 4; unit++) value /= 1024;
  return `${NUMBER.format(unit ? value : Math.round(value))} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

function ago(seconds) {
  const age = seconds - now();
  const units = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const [unit, length] = units.find((pair) => Math.abs(age) >= pair[1]) || ["second", 1];
  return AGO.format(Math.trunc(age / length), unit);
}

function when(seconds) {
  const date = new Date(number(seconds) * 1000);
  if (!number(seconds) || Number.isNaN(date.getTime())) return "–";
  return h("time", { datetime: date.toISOString(), title: DATE.format(date) }, ago(seconds));
}

function whenText(text) {
  const seconds = Date.parse(text) / 1000;
  return seconds > 86400 * 366 ? when(seconds) : foreign(text); // builds that can be repeated say 1970
}

const short = (digest) => plain(digest).replace(/^(\w+:.{12}).+/, "$1");
const encoded = (name) => name.split("/").map(encodeURIComponent).join("/");
const route = (name, reference) => {
  if (!reference) return `#/r/${encoded(name)}`;
  const of = encodeURIComponent(reference).replace(/%3A/g, ":");
  return `#/r/${encoded(name)}${reference.includes(":") ? "@" : ":"}${of}`;
};
const pair = (name, reference) => name + (reference.includes(":") ? "@" : ":") + reference;

function say(text) {
  at("live").textContent = "";
  setTimeout(() => (at("live").textContent = text), 50);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "unseen", readonly: true }); // over plain HTTP
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  say(t("copied"));
  button.classList.add("copied");
  if (button.textContent) button.textContent = t("copied");
  setTimeout(() => {
    button.classList.remove("copied");
    if (button.textContent) button.textContent = t("copy");
  }, 2000);
}

function copyButton(text, words = "") {
  const label = t("copyThis", { what: plain(text) });
  const click = (event) => copy(text, event.currentTarget);
  return h("button", { type: "button", class: words ? "copy" : "copy small", "aria-label": label, title: label, click }, words);
}

const commandLine = (text) => h("div", { class: "command" }, h("code", { translate: "no" }, text), copyButton(text, t("copy")));
const digestOf = (digest, href = null) => !DIGEST.test(digest) ? foreign(digest) : h("span", { class: "digest" },
  h(href ? "a" : "span", { href, title: plain(digest), translate: "no" }, short(digest)), copyButton(digest));
const sizeOf = (bytes) => h("span", { class: "size" }, size(bytes));

const link = (href, text) => h("a", { href, translate: "no" }, text);
const verbatim = (...text) => h("span", { translate: "no" }, ...text);
const column = (content, more = {}) => h("th", { scope: "col", role: "columnheader", ...more }, content);

function bar(part, whole, wide = "") {
  const inside = h("span");
  inside.style.width = `${whole > 0 ? (100 * number(part)) / whole : 0}%`;
  return h("span", { class: `bar ${wide}`, "aria-hidden": "true" }, inside);
}

function section(title, ...children) {
  return h("section", {}, h("h2", {}, title), ...children);
}

// Rows of a list of terms; those without a value are left out.
function terms(rows) {
  const kept = rows.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return h("dl", {}, kept.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}

function table(label, heads, rows) {
  return h("table", { role: "table", "aria-label": label },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map((head) => (typeof head === "string" ? column(head) : head)))),
    h("tbody", { role: "rowgroup" }, rows));
}

function row(first, ...cells) {
  const rest = cells.map((cell) => h("td", { role: "cell" }, cell));
  return h("tr", { role: "row" }, h("th", { scope: "row", role: "rowheader" }, first), rest);
}

// Fill a list with the first rows, and return the button that adds more of them.
function slices(holder, items, render) {
  let done = 0;
  const add = (byHand) => {
    const rows = items.slice(done, done + SLICE).map(render);
    holder.append(...rows);
    done += rows.length;
    const left = items.length - done;
    button.textContent = t("more", { n: Math.min(SLICE, left), left });
    button.hidden = left === 0;
    if (byHand) rows[0].querySelector("a, summary")?.focus();
  };
  const button = h("button", { type: "button", class: "more", click: () => add(true) });
  add(false);
  return button;
}

// What the server says -------------------------------------------------------------------------------------------

class Failure extends Error {
  constructor(kind, status = 0) {
    super(`${kind} ${status}`);
    Object.assign(this, { kind, status });
  }
  // Whether it may be gone in a moment.
  get passes() {
    return ["offline", "index404", "e429", "e503"].includes(this.kind);
  }
}

// Anything else than a failure is data of another form than a registry's, or a fault of this page.
function known(error) {
  if (error instanceof Failure) return error;
  console.error(error);
  return new Failure("unreadable");
}

async function get(url, { accept = "application/json", cache = "no-cache", limit = 0 } = {}) {
  let response;
  try {
    // The origin has no password in it, which the address may have, and then nothing would be asked for.
    response = await fetch(location.origin + url, { headers: { Accept: accept }, cache, redirect: "manual" });
  } catch {
    throw new Failure("offline");
  }
  if (response.type === "opaqueredirect") throw new Failure("elsewhere");
  const date = Date.parse(response.headers.get("date"));
  if (date && cache === "no-cache") state.skew = date - Date.now();
  if (!response.ok) throw new Failure(`e${response.status}` in TEXTS.en ? `e${response.status}` : "other", response.status);
  if (limit && Number(response.headers.get("content-length")) > limit) throw new Failure("large");
  let text, data;
  try {
    text = await response.text();
    data = JSON.parse(text);
  } catch {
    data = null;
  }
  if (!data || typeof data !== "object") throw new Failure("unreadable");
  return { data, text, headers: response.headers };
}

// A header is read byte by byte, and nginx writes a name in UTF-8.
function utf8(header) {
  return new TextDecoder().decode(Uint8Array.from(header, (character) => character.charCodeAt(0)));
}

async function loadList() {
  if (state.repositories && Date.now() - state.loaded < OFTEN) return;
  const first = !state.repositories;
  try {
    const { data, headers } = await get("/-/list");
    state.repositories = list(data.repositories).map(([name, tags, bytes, updated, cache]) => ({ name, tags, bytes, updated, cache }));
    state.user = utf8(headers.get("wharf-user") || "");
    state.level = headers.get("wharf-level"); // 1 reads, 2 pushes, 3 may do all
    at("user").textContent = state.user && t("userNow", { user: plain(state.user) });
    state.loaded = Date.now();
    state.failure = null;
    const text = JSON.stringify(data.repositories);
    if (text === state.text) return;
    Object.assign(state, { text, shared: null });
    drawNames();
  } catch (error) {
    state.failure = known(error);
    if (state.failure.status === 404) state.failure = new Failure("index404");
    if (first) at("tree").replaceChildren(h("p", { class: "faint" }, t(state.failure.kind)));
  }
}

async function loadTags(name) {
  const { data } = await get(`/-/tags/${encoded(name)}`);
  const all = new Map(Object.entries(dict(data.attached)));
  const attached = (parts) => parts.flatMap((of) => list(all.get(of)).map((one) => ({ ...dict(one), of }))).slice(0, SLICE);
  const manifests = list(data.manifests).map(dict).map((one) => ({ ...one, size: number(one.size), attached: attached(list(one.parts)) }));
  return list(data.tags).map(dict).map((tag) => ({ ...manifests[tag.manifest], ...tag, pushed: number(tag.pushed) }))
    .filter((tag) => typeof tag.name === "string" && typeof tag.digest === "string");
}

const loadManifest = (name, reference) => get(`/v2/${name}/manifests/${reference}`, { accept: MANIFESTS, limit: LARGEST });

async function loadBlob(name, descriptor) {
  const { digest, size: bytes } = dict(descriptor);
  if (!DIGEST.test(digest)) throw new Failure("unreadable");
  if (number(bytes) > LARGEST) throw new Failure("large");
  return dict((await get(`/v2/${name}/blobs/${digest}`, { accept: "*/*", cache: "default", limit: LARGEST })).data);
}

function loadShared() {
  state.shared = state.shared || get("/-/shared").then(({ data }) => new Map(Object.entries(dict(data))));
  state.shared.catch(() => (state.shared = null));
  return state.shared;
}

function failed(failure, again = null) {
  const title = h(again ? "h1" : "h2", { tabindex: again ? "-1" : null }, t(failure.kind, { status: failure.status }));
  return h("div", { class: "failure", role: "alert" },
    title,
    h("p", {}, t(`${failure.kind}Text`, { status: failure.status })),
    again && h("button", { type: "button", click: again }, t("retry")));
}

// What may fail without the rest of the page: its place is filled when it is there.
function later(promise, render) {
  const place = h("div", { class: "later", "aria-busy": "true" }, h("p", { class: "faint" }, t("loading")));
  promise.then(render).catch((error) => failed(known(error))).then((content) => {
    place.removeAttribute("aria-busy");
    place.replaceChildren(...[content].flat().filter(Boolean));
  });
  return place;
}

// Repositories ---------------------------------------------------------------------------------------------------

function countOf(key, n) {
  const [seen, heard] = [h("span", { "aria-hidden": "true" }, NUMBER.format(n)), h("span", { class: "unseen" }, t(key, { n }))];
  return h("span", { class: "count" }, seen, heard);
}

// The upstream of which a repository is in a cache.
const cacheOf = (name) => ((state.repositories || []).find((one) => one.name === name) || {}).cache;

function cacheMark(cache, isShort = false) {
  const title = cache && t("cacheOf", { upstream: plain(cache) });
  return title && h("span", { class: "badge", title }, isShort ? t("cache") : title);
}

function repositoryLink({ name, tags, cache }, text = plain(name), isMarked = true) {
  const attributes = { href: route(name), class: "repository", "data-name": name };
  return h("a", attributes, verbatim(text), " ", isMarked && cacheMark(cache, true), " ", countOf("tag", number(tags)));
}

// The tree: of each part of the names what lies below it.
function grow(repositories) {
  const root = { below: new Map(), count: 0 };
  for (const repository of repositories) {
    let node = root;
    for (const part of repository.name.split("/")) {
      if (!node.below.has(part)) node.below.set(part, { below: new Map(), count: 0 });
      node = node.below.get(part);
      node.count++;
      node.cache = repository.cache; // what is in one has a first part of its own
    }
    node.repository = repository;
  }
  return root;
}

function branch(node, path = "", own = null) {
  const rows = h("ul");
  if (own) rows.append(h("li", {}, repositoryLink(own, plain(own.name.split("/").pop()), false)));
  return [rows, slices(rows, [...node.below], ([label, below]) => {
    while (!below.repository && below.below.size === 1) {
      const [[part, next]] = below.below;
      [label, below] = [`${label}/${part}`, next];
    }
    if (!below.below.size) return h("li", {}, repositoryLink(below.repository, plain(label), !path));
    const place = `${path}${label}/`;
    const title = h("summary", {}, verbatim(`${plain(label)}/`), " ", !path && cacheMark(below.cache, true), " ", countOf("repository", below.count));
    const folder = h("details", { "data-path": place }, title);
    const fill = () => {
      if (folder.open && folder.children.length === 1) folder.append(...branch(below, place, below.repository));
      state.open[folder.open ? "add" : "delete"](place);
    };
    folder.addEventListener("toggle", fill);
    if (state.open.has(place)) {
      folder.open = true;
      fill();
    }
    return h("li", {}, folder);
  })];
}

function marked(name, words) {
  const text = plain(name);
  const pattern = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "i");
  return text.split(pattern).map((piece, index) => (index % 2 ? h("mark", {}, piece) : piece));
}

// The names beside the content: the tree, or what the search finds.
function drawNames() {
  const text = at("search").value.trim();
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const repositories = state.repositories || [];
  if (!words.length) {
    if (repositories.length <= 20) repositories.forEach(({ name }) => openTo(name));
    const top = branch(grow(repositories));
    at("tree").replaceChildren(...top);
    at("found").textContent = "";
  } else {
    const found = repositories.filter(({ name }) => words.every((word) => name.includes(word)));
    const rows = h("ul");
    const more = slices(rows, found, (one) => h("li", {}, repositoryLink(one, marked(one.name, words))));
    at("found").textContent = found.length ? t("found", { n: found.length }) : t("noMatch", { text });
    at("tree").replaceChildren(rows, more);
  }
  markCurrent(!words.length);
}

function openTo(name) {
  const parts = name.split("/");
  parts.slice(0, -1).forEach((_, index) => state.open.add(`${parts.slice(0, index + 1).join("/")}/`));
}

// Show where in the tree one is: open what lies above it.
function markCurrent(reveal = false) {
  const { name } = parse();
  const find = () => [...at("tree").querySelectorAll("a")].find((link) => link.dataset.name === name);
  at("tree").querySelectorAll("[aria-current]").forEach((link) => link.removeAttribute("aria-current"));
  if (!name) return;
  if (reveal && !find()) {
    openTo(name);
    for (const folder of at("tree").getElementsByTagName("details")) { // a live list: what opens adds to it
      if (state.open.has(folder.dataset.path) && !folder.open) {
        folder.open = true;
        folder.dispatchEvent(new Event("toggle"));
      }
    }
  }
  const current = find();
  if (!current) return;
  current.setAttribute("aria-current", "page");
  if (reveal) current.scrollIntoView({ block: "nearest" });
}

// Views: each returns what the page shows ------------------------------------------------------------------------

function heading(...children) {
  return h("h1", { tabindex: "-1" }, ...children);
}

function path(...steps) {
  const links = [["#/", t("all")], ...steps].map(([href, text]) => h("li", {}, h("a", { href }, text)));
  return h("nav", { class: "path", "aria-label": t("all") }, h("ol", {}, links));
}

function home() {
  if (!state.repositories) throw state.failure;
  const repositories = state.repositories.filter((one) => !one.cache);
  const caches = cachesSection(state.repositories.filter((one) => one.cache));
  const status = state.level === "3" && later(get("/-/status"), ({ data }) => statusPanel(dict(data)));
  if (!repositories.length) return [heading(t("noneYet")), h("p", {}, t("noneYetText")), /[23]/.test(state.level) && firstPush(), status, caches];
  const tags = repositories.reduce((sum, one) => sum + number(one.tags), 0);
  const recent = [...repositories].sort((one, other) => number(other.updated) - number(one.updated)).slice(0, 10);
  const last = t("pushedAgo", { ago: ago(number(recent[0].updated)) });
  return [
    heading(t("repositories")),
    h("p", { class: "summary" }, [t("repository", { n: repositories.length }), t("tag", { n: tags }), last].join(" · ")),
    status,
    section(t("recent"), table(t("recent"), [t("name"), t("pushed"), t("size")], recent.map((one) => row(
      repositoryLink(one), when(one.updated), sizeOf(one.bytes))))),
    caches,
  ];
}

// Nobody has pushed what is in them.
function cachesSection(repositories) {
  const rows = [...new Set(repositories.map((one) => one.cache))].map((cache) => {
    const own = repositories.filter((one) => one.cache === cache);
    const tags = own.reduce((sum, one) => sum + number(one.tags), 0);
    return row(t("cacheOf", { upstream: plain(cache) }), t("repository", { n: own.length }), t("tag", { n: tags }));
  });
  return rows.length > 0 && section(t("caches"), table(t("caches"), [t("name"), t("repositories"), t("tags")], rows));
}

function firstPush() {
  const image = `${location.host}/hello-world`;
  const commands = [state.user && `docker login ${location.host}`, `docker tag hello-world ${image}`, `docker push ${image}`];
  const lines = commands.filter(Boolean).map(commandLine);
  return h("div", { class: "first" }, h("p", {}, t("push")), lines, h("p", {}, t("pushAfter")));
}

async function repository({ name }) {
  const tags = await loadTags(name);
  // What belongs to an image, such as a signature, is shown with it; here its tags would be in the way.
  const [shown, others] = [tags.filter((tag) => !tag.of), tags.filter((tag) => tag.of)];
  const known = (state.repositories || []).find((one) => one.name === name);
  const parts = name.split("/");
  const last = parts.pop();
  const full = `${location.host}/${name}`;
  return [
    path(),
    heading(verbatim(parts.map((part) => [h("span", { class: "faint" }, `${part}/`), h("wbr")]), last),
      cacheMark(cacheOf(name))),
    h("p", { class: "summary" }, t("tag", { n: shown.length }), known && ` · ${size(known.bytes)}`, " ", copyButton(full)),
    shown.length ? tagTable(name, shown) : h("p", { class: "empty" }, t("noTags")),
    others.length > 0 && h("details", { class: "others" },
      h("summary", {}, t("otherTags", { n: others.length })), tagTable(name, others)),
  ];
}

const pushedOr = (name) => (cacheOf(name) ? "fetched" : "pushed");

function badges({ type, attached }) {
  const kinds = new Set(attached.map(kindOf));
  return [
    type === "damaged" && h("span", { class: "badge bad" }, t("damaged")),
    type === "artifact" && h("span", { class: "badge" }, t("artifact")),
    ["signature", "attestation", "sbom"].map((kind) => kinds.has(kind) && h("span", { class: "badge" }, t(kind))),
  ];
}

function tagRow(name, tag) {
  const platforms = list(tag.platforms).map(plain);
  const shown = platforms.length > 2 ? [...platforms.slice(0, 2), `+${platforms.length - 2}`] : platforms;
  return row(
    [link(route(name, tag.name), plain(tag.name)), badges(tag)], when(tag.pushed), sizeOf(tag.size),
    h("span", { class: "platforms", title: platforms.join(", ") }, shown.map((one) => [h("span", {}, one), " "])),
    digestOf(tag.digest));
}

function tagTable(name, tags) {
  const by = {
    name: (one, other) => BY_NAME.compare(one.name, other.name),
    pushed: (one, other) => one.pushed - other.pushed || BY_NAME.compare(one.name, other.name),
    size: (one, other) => one.size - other.size || BY_NAME.compare(one.name, other.name),
  };
  let [key, down] = ["pushed", true];
  const heads = Object.keys(by).map((of) => {
    const sort = () => {
      [key, down] = [of, of === key ? !down : of !== "name"];
      draw();
    };
    const title = t({ name: "tagName", pushed: pushedOr(name) }[of] || of);
    return column(h("button", { type: "button", click: sort }, title), { "data-key": of });
  });
  const whole = table(t("tags"), [...heads, t("platforms"), t("digest")], []);
  const body = whole.lastChild;
  whole.className = "tags";
  const foot = h("div");
  const found = h("span", { role: "status", class: "faint" });
  const words = { "aria-label": t("filterTags"), placeholder: t("filterTags") };
  const filter = h("input", { type: "search", autocapitalize: "none", ...words, input: () => draw() });
  const draw = () => {
    const text = filter.value.trim();
    const kept = tags.filter((tag) => tag.name.toLowerCase().includes(text.toLowerCase()));
    kept.sort((one, other) => (down ? -1 : 1) * by[key](one, other));
    const order = down ? "descending" : "ascending";
    heads.forEach((head) => head.setAttribute("aria-sort", head.dataset.key === key ? order : "none"));
    body.replaceChildren();
    foot.replaceChildren(slices(body, kept, (tag) => tagRow(name, tag)));
    found.textContent = !text ? "" : kept.length ? t("tag", { n: kept.length }) : t("noTagMatch", { text });
  };
  draw();
  return [
    tags.length > 10 && h("p", { class: "filter" }, filter, " ", found),
    whole,
    foot,
  ];
}

// An image, or what else has a manifest --------------------------------------------------------------------------

function kindOf({ type, tag }) {
  const text = `${type || ""} ${tag || ""}`;
  if (/spdx|cyclonedx|sbom|syft/i.test(text)) return "sbom";
  if (/in-toto|attestation|provenance|\.att\b/i.test(text)) return "attestation";
  return /cosign|sigstore|signature|\.sig\b/i.test(text) ? "signature" : "artifact";
}

// A cache would ask its upstream for a tag, and is shown as it is.
function digestIn(tags, name) {
  const tag = tags.find((one) => one.name === name);
  if (!tag) throw new Failure("e404", 404);
  return tag.digest;
}

async function image({ name, reference }) {
  const byDigest = reference.includes(":");
  const loading = loadTags(name);
  const listed = loading.catch(() => []); // the image is shown without the index, too
  const asked = cacheOf(name) && !byDigest ? digestIn(await loading, reference) : reference;
  const [{ data, text, headers }, tags] = await Promise.all([loadManifest(name, asked), listed]);
  const manifest = dict(data);
  const digest = headers.get("docker-content-digest") || (byDigest ? reference : "");
  const tag = tags.find((one) => one.name === reference) || tags.find((one) => one.digest === digest);
  const others = tags.filter((one) => one.digest === digest && one.name !== reference);
  const attached = tag ? tag.attached : tags.flatMap((one) => one.attached).filter(({ of }) => of === digest);
  const named = list(manifest.manifests).map(dict);
  // For what is not there a cache would ask its upstream. Of what no tag leads to it is not known.
  const cached = cacheOf(name) && new Set(tags.flatMap((one) => list(one.there)));
  const there = cached && (tag || cached.has(asked)) ? cached : null;
  const entries = there ? named.filter((entry) => there.has(entry.digest)) : named;
  const absent = named.filter(platformOf).length - entries.filter(platformOf).length;
  const isIndex = Array.isArray(manifest.manifests);
  const isImage = isIndex ? named.some((entry) => platformOf(entry)) : IMAGE_CONFIGS.includes(dict(manifest.config).mediaType);
  const owner = [...tags, ...tags.flatMap((one) => one.attached)].find((one) => one.of && one.digest === digest);
  const belongs = dict(manifest.subject).digest || (owner && owner.of) || (ATTACHED_TAG.test(reference) && reference.replace(ATTACHED_TAG, "$1:$2"));
  const bytes = tag ? tag.size : list(manifest.layers).reduce((sum, layer) => sum + number(dict(layer).size), 0);
  const context = { name, names: new Set([reference, ...others.map((one) => one.name)]) };
  const type = manifest.artifactType || dict(manifest.config).mediaType || manifest.mediaType || "";
  return [
    path([route(name), plain(name)]),
    heading(verbatim(h("span", { class: "faint" }, name.split("/").pop(), byDigest ? "@" : ":"), h("wbr"),
      byDigest ? short(reference) : reference), tag && badges(tag), cacheMark(cacheOf(name))),
    terms([
      [t("digest"), digest && digestOf(digest)],
      [t("size"), bytes > 0 && size(bytes)],
      [t(pushedOr(name)), tag && tag.pushed > 0 && when(tag.pushed)],
      [t("type"), !isImage && type && foreign(type)],
      [t("belongs"), DIGEST.test(belongs) && digestOf(belongs, route(name, belongs))],
      [t("alsoTagged"), others.length > 0 && h("span", { class: "links" }, others.slice(0, 20).map((one) =>
        link(route(name, one.name), plain(one.name))))],
    ]),
    pullSection(name, reference, digest, isImage, dict(manifest.config).mediaType),
    attachedSection(name, attached, entries),
    manifest.schemaVersion === 1 ? h("p", { class: "empty" }, t("old"))
      : isIndex ? indexSections(context, entries) : contents(context, manifest, isImage, !there || there.has(asked)),
    absent > 0 && h("p", { class: "faint" }, t("notCached", { n: absent })),
    isIndex && annotationSection(manifest),
    h("details", { class: "json" }, h("summary", {}, t("json")), foreign(text, "pre")),
  ];
}

function pullSection(name, reference, digest, isImage, config) {
  const place = h("div");
  const draw = (chosen) => {
    const full = `${location.host}/${pair(name, chosen)}`;
    const user = state.user ? `--user ${state.user} ` : "";
    const commands = isImage
      ? [`docker pull ${full}`, `podman pull ${full}`, `ctr images pull --hosts-dir /etc/containerd/certs.d ${user}${full}`]
      : config === "application/vnd.cncf.helm.config.v1+json" && !chosen.includes(":")
        ? [`helm pull oci://${location.host}/${name} --version ${chosen.replace(/_/g, "+")}`] : [`oras pull ${full}`];
    place.replaceChildren(...commands.map(commandLine));
  };
  draw(reference);
  const both = digest && !reference.includes(":") && choice(t("pull"), [[t("byTag"), reference], [t("byDigest"), digest]], draw);
  return section(t("pull"), both, place);
}

// Buttons of which one is pressed.
function choice(label, options, choose) {
  const buttons = options.map(([text, value], index) => {
    const press = () => {
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === buttons[index])));
      choose(value);
    };
    return h("button", { type: "button", "aria-pressed": String(index === 0), click: press }, text);
  });
  return h("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

function attachedSection(name, attached, entries) {
  // What buildx puts into the index itself.
  const platforms = new Map(entries.map((entry) => [entry.digest, platformOf(entry)]));
  const built = entries.map(({ digest, annotations }) => {
    const { "vnd.docker.reference.type": type, "vnd.docker.reference.digest": of } = dict(annotations);
    return { digest, type, of };
  }).filter(({ type }) => type);
  const all = new Map([...attached, ...built].filter(({ digest }) => DIGEST.test(digest)).map((one) => [one.digest, one]));
  const rows = [...all.values()].slice(0, SLICE).map((one) => row(
    [h("a", { href: route(name, one.digest) }, t(kindOf(one))), platforms.get(one.of) && ` (${platforms.get(one.of)})`],
    foreign(one.type || one.tag || ""), digestOf(one.digest)));
  return rows.length > 0 && section(t("attached"), table(t("attached"), [t("name"), t("type"), t("digest")], rows),
    attached.length >= MOST_ATTACHED && h("p", { class: "faint" }, t("attachedMany", { n: MOST_ATTACHED })));
}

function platformOf(entry) {
  const platform = dict(entry.platform);
  const parts = [platform.os, platform.architecture, platform.variant].filter((part) => typeof part === "string" && part);
  const version = platform["os.version"] ? ` ${platform["os.version"]}` : ""; // Windows
  return parts.length < 2 || parts[0] === "unknown" ? "" : plain(parts.join("/") + version);
}

function indexSections(context, entries) {
  const images = entries.filter((entry) => platformOf(entry) && DIGEST.test(entry.digest));
  if (!images.length) {
    const rows = entries.filter((one) => DIGEST.test(one.digest)).slice(0, SLICE).map((one) => row(
      digestOf(one.digest, route(context.name, one.digest)), foreign(one.artifactType || one.mediaType || ""), sizeOf(one.size)));
    const heads = [t("digest"), t("type"), t("size")];
    return section(t("index"), rows.length ? table(t("index"), heads, rows) : h("p", {}, t("none")));
  }
  images.sort((one, other) => (platformOf(other) === "linux/amd64") - (platformOf(one) === "linux/amd64"));
  const place = h("div");
  const draw = (entry) => place.replaceChildren(
    terms([[t("digest"), digestOf(entry.digest, route(context.name, entry.digest))]]),
    later(loadManifest(context.name, entry.digest), ({ data }) => contents(context, dict(data), true)));
  draw(images[0]);
  const buttons = choice(t("platforms"), images.slice(0, 50).map((entry) => [platformOf(entry), entry]), draw);
  return [section(t("platforms"), buttons), place];
}

function contents(context, manifest, isImage, hasConfig = true) {
  if (!isImage) return [filesSection(manifest), annotationSection(manifest)];
  if (!hasConfig) {
    const text = h("p", { class: "faint" }, t("configNotCached"));
    return [layersSection(context, manifest, {}), section(t("configuration"), text), annotationSection(manifest)];
  }
  const loaded = loadBlob(context.name, manifest.config).then((config) => ({ config }), (failure) => ({ config: {}, failure }));
  return later(loaded, ({ config, failure }) => [
    layersSection(context, manifest, config), failure ? failed(failure) : configSection(config), annotationSection(manifest),
  ]);
}

function filesSection(manifest) {
  const files = list(manifest.layers).map(dict);
  const title = (file) => dict(file.annotations)["org.opencontainers.image.title"] || short(file.digest);
  const rows = files.slice(0, SLICE).map((file) =>
    row(foreign(title(file)), foreign(file.mediaType || ""), sizeOf(file.size), digestOf(file.digest)));
  return section(`${t("files")} (${files.length})`, table(t("files"), [t("name"), t("type"), t("size"), t("digest")], rows));
}

function annotationSection(manifest) {
  const found = Object.entries(dict(manifest.annotations));
  return found.length > 0 && section(t("annotations"), pairs(found));
}

function pairs(found) {
  const rows = h("dl", { class: "pairs" });
  return [rows, slices(rows, found, ([key, value]) => h("div", {}, h("dt", {}, foreign(key)), h("dd", {}, linked(value))))];
}

// A label that is an address may be followed, but only to a web page.
function linked(value) {
  const isLink = /^https?:\/\/[\w.-]+(?::\d+)?(?:\/[\w.~%/?#=&+,:;@!-]{0,400})?$/.test(value);
  return typeof value === "string" && isLink ? h("a", { href: value, rel: "noopener noreferrer nofollow", translate: "no" }, value) : foreign(value);
}

// Each step of the history with its layer, from the base image up.
function steps(manifest, config) {
  const layers = list(manifest.layers).map(dict);
  const history = list(config.history).map(dict);
  const waiting = [...layers];
  const isWhole = history.filter((step) => !step.empty_layer).length === layers.length;
  if (!isWhole) return [...layers.map((layer) => ({ layer })), ...history.map((step) => ({ step }))];
  return history.map((step) => ({ step, layer: step.empty_layer ? null : waiting.shift() }));
}

function commandOf(step) {
  const text = typeof step.created_by === "string" ? step.created_by : typeof step.comment === "string" ? step.comment : "";
  const command = text.replace(/^\/bin\/sh -c #\(nop\)\s*/, "").replace(/^(?:RUN )?\/bin\/sh -c\s+/, "RUN ");
  return command.replace(/ # buildkit$/, "").trim();
}

function layersSection({ name, names }, manifest, config) {
  const all = steps(manifest, config).filter(({ step, layer }) => layer || commandOf(step));
  const layers = all.filter((one) => one.layer).map((one) => one.layer);
  const bytes = layers.reduce((sum, layer) => sum + number(layer.size), 0);
  const places = [];
  const rows = h("ol", { class: "layers" });
  const more = slices(rows, all, ({ step, layer }) => {
    const command = step ? commandOf(step) : "";
    const place = layer && h("div");
    if (layer) places.push([layer, place]);
    return h("li", { class: layer ? "" : "faint" },
      command ? foreign(command, "code") : h("span", { class: "faint" }, t("noCommand")),
      layer && h("div", { class: "facts" }, bar(layer.size, bytes), sizeOf(layer.size), digestOf(String(layer.digest))),
      place);
  });
  loadShared().then((shared) => places.forEach(([layer, place]) => {
    const images = list(shared.get(layer.digest)).filter((one) => Array.isArray(one) && !(one[0] === name && names.has(one[1])));
    if (!images.length) return;
    const links = images.map(([repository, tag]) => h("li", {}, link(route(String(repository), String(tag)), plain(`${repository}:${tag}`))));
    const text = t(images.length >= 19 ? "alsoMany" : "also", { n: images.length });
    place.append(h("details", {}, h("summary", {}, text), h("ul", {}, links)));
  })).catch(() => {}); // without it the page says less
  const title = `${t("layer", { n: layers.length })} · ${size(bytes)}`;
  return section(t("layers"), h("p", { class: "summary" }, layers.length ? title : t("noLayers")), rows, more);
}

function words(value) {
  if (typeof value === "string") return foreign(value, "code");
  const quoted = list(value).map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${plain(word).replace(/'/g, "'\\''")}'`));
  return quoted.length > 0 && foreign(quoted.join(" "), "code");
}

function configSection(config) {
  const of = dict(config.config);
  const environment = list(of.Env).map((line) => plain(line).match(/^([^=]*)=?([^]*)$/).slice(1));
  const labels = Object.entries(dict(of.Labels));
  const keys = (value) => Object.keys(dict(value)).length > 0 && foreign(Object.keys(value).join(", "), "code");
  return section(t("configuration"),
    terms([
      [t("architecture"), foreign(platformOf({ platform: config }) || "–")],
      [t("created"), config.created && whenText(config.created)],
      [t("author"), config.author && foreign(config.author)],
      [t("entrypoint"), words(of.Entrypoint)],
      [t("command"), words(of.Cmd)],
      [t("user"), of.User ? foreign(of.User, "code") : t("userRoot")],
      [t("directory"), of.WorkingDir && foreign(of.WorkingDir, "code")],
      [t("ports"), keys(of.ExposedPorts)],
      [t("volumes"), keys(of.Volumes)],
      [t("healthcheck"), words(list(dict(of.Healthcheck).Test).slice(1))],
      [t("stop"), of.StopSignal && foreign(of.StopSignal, "code")],
    ]),
    environment.length > 0 && [h("h3", {}, t("environment")), pairs(environment)],
    labels.length > 0 && [h("h3", {}, t("labels")), pairs(labels)]);
}

// How the registry is, for admins --------------------------------------------------------------------------------

function statusPanel(status) {
  const problems = list(status.problems);
  const english = (text) => h("span", { lang: "en" }, foreign(text));
  const { storage, certificate, containers, results, standby } = Object.fromEntries(
    ["storage", "certificate", "containers", "results", "standby"].map((key) => [key, dict(status[key])]));
  const whole = number(storage.used) + number(storage.free);
  const days = certificate.days;
  const isShown = ([key, last]) => key in TEXTS.en && (last || !["trim-caches", "feed-standbys"].includes(key));
  const runs = Object.entries(results).filter(isShown).map(([key, last]) => row(t(key),
    last ? h("span", { class: last.good ? "good" : "bad" }, t(last.good ? "ok" : "failed")) : h("span", { class: "faint" }, t("runNone")),
    last ? when(last.time) : "", last ? english(last.message || "") : ""));
  return h("section", { class: "status" },
    h("h2", {}, t("status")),
    problems.length
      ? h("div", { class: "problems" }, h("h3", {}, t("problems")), h("ul", {}, problems.map((text) => h("li", {}, english(text)))))
      : h("p", { class: "good" }, t("well")),
    terms([
      [t("standby"), standby.of && [foreign(standby.of), " · ", standby.copied ? when(standby.copied) : t("runNone")]],
      [t("storage"), whole > 0 && [`${size(storage.used)} ${t("used")} · ${size(storage.free)} ${t("free")}`, bar(storage.used, whole, "wide")]],
      [t("caches"), number(status.cached) > 0 && `${size(status.cached)} ${t("used")}`],
      [t("certificate"), !status.certificate ? t("certificateNone")
        : h("span", { class: days < 14 ? "bad" : "" }, days < 0 ? t("certificateEnded") : t("certificateEnd", { n: number(days) }))],
      ...["registry", "gateway"].map((part) => [t(part), containers[part] && foreign(
        [containers[part].version, containers[part].state].filter(Boolean).join(", "))]),
      [t("now"), status.lock && [english(dict(status.lock).name || ""), status.pushes_wait && ` · ${t("waiting")}`]],
    ]),
    h("details", { open: problems.length > 0 }, h("summary", {}, t("runs")),
      table(t("runs"), [t("run"), t("result"), t("when"), t("message")], runs)),
    status.retention && retentionPlan(dict(status.retention)));
}

function retentionPlan(plan) {
  const rows = list(plan.tags).map(dict).slice(0, SLICE).map((one) => row(
    link(route(String(one.name), String(one.tag)), plain(`${one.name}:${one.tag}`)),
    when(one.pushed), h("span", { lang: "en" }, foreign(one.reason || ""))));
  if (!rows.length) return [h("h3", {}, t("retention")), h("p", {}, t("retentionNone"))];
  const count = number(plan.count) || rows.length;
  return h("details", {}, h("summary", {}, `${t("retention")}: ${t("tag", { n: count })}`),
    table(t("retention"), [t("tagName"), t("pushed"), t("reason")], rows));
}

// Where one is ---------------------------------------------------------------------------------------------------

function parse() {
  const match = /^#\/r\/([^:@]*)(?:[:@](.+))?$/.exec(location.hash);
  if (!match) return { view: home };
  try {
    const [name, reference] = [decodeURIComponent(match[1]), decodeURIComponent(match[2] || "")];
    // Nothing else is asked for: a link that somebody made shows no other data under a repository's name.
    const isName = NAME.test(name) && (!reference || REFERENCE.test(reference));
    if (isName) return { view: reference ? image : repository, name, reference };
  } catch {
    // no text that was encoded
  }
  return { view: () => Promise.reject(new Failure("e404", 404)), wrong: true };
}

let turn = 0;

async function show(isFirst = false, isRetry = false) {
  const mine = ++turn;
  const place = parse();
  const slow = setTimeout(() => isRetry || main.replaceChildren(h("p", { class: "faint loading" }, t("loading"))), 300);
  main.setAttribute("aria-busy", "true");
  document.body.dataset.view = place.view === home ? "home" : "other";
  let content;
  let failure = null;
  try {
    const listed = loadList();
    if (place.view === home || !state.repositories) await listed; // it says what is in a cache
    content = await place.view(place);
  } catch (error) {
    failure = known(error);
    content = [place.view !== home && path(), failed(failure, () => show())];
  }
  clearTimeout(slow);
  if (mine !== turn) return;
  if (failure && failure.passes) setTimeout(() => mine === turn && show(false, true), 5000);
  main.removeAttribute("aria-busy");
  const same = isRetry && failure && main.dataset.failure === failure.kind; // nothing is read aloud again and again
  main.dataset.failure = failure ? failure.kind : "";
  if (same) return;
  main.replaceChildren(...[content].flat(9).filter(Boolean));
  const title = place.name ? (place.reference ? pair(place.name, plain(place.reference)) : place.name) : "";
  document.title = [title, location.host].filter(Boolean).join(" – ");
  markCurrent(true);
  if (isFirst || isRetry) return;
  scrollTo(0, 0);
  (main.querySelector("h1") || main).focus({ preventScroll: true });
}

function focusSearch() {
  if (at("search").offsetParent === null) location.hash = "#/"; // a narrow window shows the names at home only
  setTimeout(() => {
    at("search").focus();
    at("search").select();
  });
}

document.documentElement.lang = LANGUAGE === "zh" ? "zh-CN" : "en";
at("host").textContent = location.host;
at("skip").textContent = t("skip");
at("nav").setAttribute("aria-label", t("repositories"));
at("search-label").textContent = t("search");
at("search").placeholder = t("search");
at("search").addEventListener("input", drawNames);
at("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    at("search").value = "";
    drawNames();
  } else if (event.key === "Enter" && at("search").value.trim()) at("tree").querySelector("a")?.click();
});
at("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return;
  event.preventDefault();
  focusSearch();
});
addEventListener("hashchange", () => show());
show(true);
