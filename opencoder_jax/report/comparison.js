// The list of problems: filters, a hundred rows at a time, evidence built when a row is opened.
(() => {
  "use strict";
  const { models, problems } = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 100;
  const element = (id) => document.getElementById(id);
  const list = element("list");
  const more = element("more");
  let chosen = problems;
  let drawn = 0;

  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const options = (select, first, values) => {
    select.append(new Option(first, ""));
    values.forEach(([value, label]) => select.append(new Option(label, value)));
  };
  const counted = (key) => {
    const counts = new Map();
    problems.forEach((p) => p[key] && counts.set(p[key], (counts.get(p[key]) || 0) + 1));
    return [...counts].map(([value, count]) => [value, `${value} (${count})`]);
  };

  const verdicts = new Set();
  problems.forEach((p) => p.answers.forEach((a) => a && verdicts.add(a.verdict)));
  options(element("task"), "all", counted("task"));
  options(element("language"), "all", counted("language"));
  options(element("verdict"), "any", [
    ...(models.length > 1 ? [["differs", "models differ"]] : []),
    ["failures", "anything but passed"],
    ...[...verdicts].sort().map((verdict) => [verdict, verdict]),
  ]);

  const hasVerdict = (problem, wanted) => {
    const answers = problem.answers.filter(Boolean);
    if (wanted === "differs") return new Set(answers.map((a) => a.verdict)).size > 1;
    if (wanted === "failures") return answers.some((a) => a.verdict !== "passed");
    return answers.some((a) => a.verdict === wanted);
  };

  const contains = (problem, text) =>
    [problem.id, problem.prompt, ...problem.answers.flatMap((a) => (a ? [a.text, a.reason] : []))]
      .some((part) => part && part.toLowerCase().includes(text));

  const written = (text, marks) => {
    const block = make("pre");
    text.split("\n").forEach((line, number) => {
      block.append(make("span", marks && marks[number] ? "line differs" : "line", line));
    });
    return block;
  };

  const verdictClass = (verdict) =>
    `verdict ${{ passed: "passed", skipped: "skipped" }[verdict] || "other"}`;

  const evidence = (problem) => {
    const box = make("div", "evidence");
    box.append(make("p", "label", "Prompt"));
    const prompt = make("pre", "", problem.prompt);
    if (problem.suffix !== null) {
      prompt.append(make("b", "", " … "), make("span", "given", problem.suffix));
    }
    box.append(prompt);
    const columns = make("div", "columns");
    const answers = problem.answers;
    const first = answers.findIndex(Boolean);
    answers.forEach((answer, number) => {
      const column = make("div", "answer");
      column.append(make("h4", "", models[number]));
      if (!answer) {
        column.append(make("p", "reason", "not asked"));
        columns.append(column);
        return;
      }
      const partner = number === first ? answers.findIndex((a, n) => a && n > first) : first;
      const marks = partner < 0 || partner === number
        ? null
        : differing(answer.text, answers[partner].text)?.[0];
      const about = [answer.verdict, answer.reason].filter(Boolean).join(": ");
      column.append(make("p", `reason ${verdictClass(answer.verdict)}`, about));
      const facts = [
        answer.end && `ended by ${answer.end}`,
        answer.tokens !== null && answer.tokens !== undefined && `${answer.tokens} tokens`,
        answer.seconds && `ran ${answer.seconds} s`,
      ].filter(Boolean);
      column.append(make("p", "label", facts.join(" · ")));
      if (answer.trained) {
        const { documents, example, words } = answer.trained;
        column.append(make("p", "reason",
          `In ${documents} training texts, such as ${example}: “${words}”`));
      }
      if (answer.prompt) {
        const other = make("details", "program");
        other.append(make("summary", "", "Asked otherwise"), make("pre", "", answer.prompt));
        column.append(other);
      }
      column.append(written(answer.text, marks));
      const program = make("details", "program");
      program.append(make("summary", "", "Program"), make("pre", "", answer.program));
      column.append(program);
      columns.append(column);
    });
    box.append(columns);
    return box;
  };

  const row = (problem) => {
    const details = make("details", "problem");
    const summary = make("summary");
    const sampled = problems.some((p) => p.sample > 0);
    const name = sampled ? `${problem.id} · ${problem.sample + 1}` : problem.id;
    summary.append(make("span", "name", name));
    const about = [problem.task, problem.language, problem.subset].filter(Boolean).join(" · ");
    summary.append(make("span", "about", about));
    const badges = make("span", "badges");
    problem.answers.forEach((answer, number) => {
      const title = models.length > 1 ? `${models[number]}: ` : "";
      const badge = make("span", "badge", title);
      badge.append(
        answer
          ? make("span", verdictClass(answer.verdict), answer.verdict)
          : make("span", "quiet", "–"),
      );
      badges.append(badge);
    });
    summary.append(badges);
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(evidence(problem));
    });
    return details;
  };

  const draw = () => {
    chosen.slice(drawn, drawn + PAGE).forEach((problem) => list.append(row(problem)));
    drawn = Math.min(drawn + PAGE, chosen.length);
    more.hidden = drawn >= chosen.length;
    element("shown").textContent = `${chosen.length} of ${problems.length} problems`;
  };

  const filter = () => {
    const task = element("task").value;
    const language = element("language").value;
    const verdict = element("verdict").value;
    const text = element("text").value.trim().toLowerCase();
    chosen = problems.filter((p) =>
      (!task || p.task === task)
      && (!language || p.language === language)
      && (!verdict || hasVerdict(p, verdict))
      && (!text || contains(p, text)));
    list.replaceChildren();
    drawn = 0;
    draw();
  };

  ["task", "language", "verdict"].forEach((id) => element(id).addEventListener("change", filter));
  element("text").addEventListener("input", filter);
  more.addEventListener("click", draw);
  draw();
})();
