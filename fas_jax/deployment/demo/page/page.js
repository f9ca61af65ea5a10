"use strict";
// Shows frames of a camera or a file to the server, one at a time, and what it answers.

const at = (id) => document.getElementById(id);
const WORDS = { "bona fide": "Bona fide", attack: "Attack", uncertain: "Uncertain", "no decision": "No decision" };
const QUALITY = 0.95;
const canvas = at("frame");
const video = at("video");
let run = 0; // The number of what is shown now: whatever belongs to an earlier one ends itself.
let about = null;
let stream = null;
let address = "";

class Reason extends Error {}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, cache: "no-store", credentials: "omit" });
  } catch {
    throw new Reason("The server does not answer; is the command still running?");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const reason = new Reason(told.reason || `The server refuses the request (${answer.status}).`);
  reason.status = answer.status;
  throw reason;
}

let turn = Promise.resolve();

// A session serves one request at a time.
function inTurn(work) {
  const done = turn.then(work);
  turn = done.catch(() => {});
  return done;
}

async function begin(text) {
  await stop();
  const mine = ++run;
  at("stop").disabled = false;
  at("source").textContent = text;
  show({ decision: "no decision", reason: "Waiting for the first frame." }, "Starting …");
  about = await (await ask("sessions", { method: "POST" })).json();
  if (mine !== run) {
    await ask(`sessions/${about.session}`, { method: "DELETE" }).catch(() => {});
    return 0;
  }
  at("detector").textContent = `Detector ${about.detector}` + (about.three ? ", three answers" : ", two answers");
  list(at("caveats"), about.caveats);
  zones();
  return mine;
}

async function stop() {
  run += 1;
  at("stop").disabled = true;
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  video.pause();
  video.srcObject = null;
  video.removeAttribute("src");
  if (address) URL.revokeObjectURL(address);
  address = "";
  at("explain").disabled = true;
  const old = about;
  about = null;
  if (old) await ask(`sessions/${old.session}`, { method: "DELETE" }).catch(() => {});
}

async function finish(text) {
  // The last verdict stays, and can be explained, until something else is begun.
  run += 1;
  at("stop").disabled = true;
  if (stream) stream.getTracks().forEach((track) => track.stop());
  at("source").textContent = text;
}

function fail(error) {
  show({ decision: "no decision", reason: error.message });
  finish("Stopped.");
}

async function useCamera() {
  const mine = await begin("Asking for the camera …");
  if (!mine) return;
  let opened;
  try {
    opened = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: false });
  } catch (error) {
    throw new Reason(`The browser gives no camera: ${error.message || error.name}`);
  }
  if (mine !== run) return opened.getTracks().forEach((track) => track.stop());
  stream = opened;
  video.srcObject = opened;
  await video.play();
  at("source").textContent = "The camera is judged while it runs.";
  const start = performance.now();
  while (mine === run) {
    const seconds = (performance.now() - start) / 1000;
    await judge(video, video.videoWidth, video.videoHeight, seconds, mine);
    await pause(1000 * about?.interval - (performance.now() - start - 1000 * seconds));
  }
}

async function useFile(file) {
  const mine = await begin(`Reading ${file.name} …`);
  if (!mine) return;
  if (file.type.startsWith("image/")) {
    const picture = await createImageBitmap(file).catch(() => null);
    if (!picture) throw new Reason("The browser cannot read this picture.");
    await judge(picture, picture.width, picture.height, 0, mine);
    if (mine === run) await finish(`${file.name}: one picture.`);
    return;
  }
  address = URL.createObjectURL(file);
  video.src = address;
  await event(video, "loadeddata", "The browser cannot play this file; fas-jax predict reads more formats.");
  if (!Number.isFinite(video.duration)) throw new Reason("The file does not say how long it lasts.");
  for (let seconds = 0; mine === run && seconds < video.duration; seconds += about.interval) {
    if (seconds) {
      video.currentTime = seconds;
      await event(video, "seeked", "The browser cannot play this file to its end.");
    }
    at("source").textContent = `${file.name}: ${seconds.toFixed(1)} of ${video.duration.toFixed(1)} s`;
    await judge(video, video.videoWidth, video.videoHeight, seconds, mine);
  }
  if (mine === run) await finish(`${file.name}: judged to its end; the verdict is that of the last frames.`);
}

async function judge(source, width, height, seconds, mine) {
  if (mine !== run) return;
  if (!width || !height) throw new Reason("There is no picture.");
  const scale = Math.min(1, about.longest_side / Math.max(width, height));
  const size = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  canvas.getContext("2d").drawImage(source, 0, 0, ...size);
  const body = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  if (mine !== run) return;
  const path = `sessions/${about.session}/frames?seconds=${seconds.toFixed(3)}`;
  try {
    const answer = await inTurn(() => ask(path, { method: "POST", body, headers: { "Content-Type": "image/jpeg" } }));
    const told = await answer.json();
    if (mine === run) show(told);
  } catch (error) {
    // A frame that is refused is told, and the next one starts anew; without a session there is nothing to go on with.
    if (mine !== run) return;
    if (error.status !== 400 && error.status !== 413) throw error;
    show({ decision: "no decision", reason: error.message });
  }
}

function show(told, words) {
  const decided = told.decision !== "no decision";
  const verdict = at("verdict");
  const text = words || WORDS[told.decision] || "No decision";
  // Read out only where it changes.
  if (verdict.textContent !== text) verdict.textContent = text;
  verdict.dataset.decision = told.decision;
  at("reason").textContent = told.advice?.length ? "" : told.reason || "";
  list(at("advice"), told.advice || []);
  at("explain").disabled = !(decided && about?.overlay);
  if (!decided) at("overlay").hidden = true;
  score(told);
}

function score(told) {
  const known = Number.isFinite(told.score);
  const x = (value) => 200 * Math.min(1, Math.max(0, value));
  at("marker").toggleAttribute("hidden", !known);
  at("marker").setAttribute("transform", `translate(${known ? x(told.score) : 0} 18)`);
  const [low, high] = (known && told.interval) || [0, 0];
  at("interval").setAttribute("x", x(low));
  at("interval").setAttribute("width", x(high) - x(low));
  let text = "";
  if (known) {
    text = `Score ${told.score.toFixed(3)}`;
    if (told.interval) text += `, from ${low.toFixed(3)} to ${high.toFixed(3)} over resamples of its frames`;
    text += `; threshold ${about?.threshold?.toFixed(3)}; ${told.frames} frames, ${told.seconds.toFixed(2)} s.`;
  }
  at("score").textContent = text;
  at("scale").setAttribute("aria-label", text || "No score yet");
}

function zones() {
  // A bound that does not exist is null: nothing is called an attack, or nothing bona fide.
  const low = 200 * Math.min(1, Math.max(0, about.zones[0] ?? 0));
  const high = 200 * Math.min(1, Math.max(0, about.zones[1] ?? 1));
  const parts = { attack: [0, low], uncertain: [low, high], "bona-fide": [high, 200] };
  for (const [name, [from, to]] of Object.entries(parts)) {
    const part = document.querySelector(`#scale .${name}`);
    part.setAttribute("x", from);
    part.setAttribute("width", to - from);
  }
  at("threshold").removeAttribute("hidden");
  at("threshold").setAttribute("x", 200 * about.threshold - 0.5);
}

async function explain() {
  const mine = about;
  at("explain").disabled = true;
  at("explain").textContent = "Drawing …";
  try {
    const answer = await inTurn(() => ask(`sessions/${mine.session}/overlay.png`));
    const picture = URL.createObjectURL(await answer.blob());
    at("picture").onload = () => URL.revokeObjectURL(picture);
    at("picture").src = picture;
    at("overlay").hidden = false;
  } catch (error) {
    at("reason").textContent = error.message;
  }
  at("explain").textContent = "Show what decides";
  at("explain").disabled = !about?.overlay;
}

function list(place, sentences) {
  if ([...place.children].map((each) => each.textContent).join("\n") === sentences.join("\n")) return;
  place.replaceChildren(
    ...sentences.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
  );
}

function event(target, name, otherwise) {
  return new Promise((done, failed) => {
    const ended = new AbortController();
    const options = { signal: ended.signal };
    target.addEventListener(name, () => (ended.abort(), done()), options);
    target.addEventListener("error", () => (ended.abort(), failed(new Reason(otherwise))), options);
  });
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, Math.max(0, milliseconds || 0)));
const guarded = (work) => (argument) => {
  const before = run;
  work(argument).catch((error) => run <= before + 2 && fail(error));
};

at("camera").addEventListener("click", guarded(useCamera));
at("file").addEventListener("change", guarded(async () => at("file").files[0] && useFile(at("file").files[0])));
at("stop").addEventListener("click", async () => {
  await stop();
  show({ decision: "no decision", reason: "" }, "Stopped");
  at("source").textContent = "Nothing is judged.";
});
at("explain").addEventListener("click", explain);
addEventListener("pagehide", () => {
  if (about) fetch(`sessions/${about.session}`, { method: "DELETE", keepalive: true });
});
