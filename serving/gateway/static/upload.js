// Uploads by choosing or dropping files, with the progress of each.

import { message, signIn } from './api.js';
import { byId, element } from './dom.js';
import { bytes, count } from './format.js';

const AT_ONCE = 3;
const RETRY_S = 5;
const TRIES_WHEN_BUSY = 20;

const panel = byId('upload');
const limits = {
  fileBytes: Number(panel.dataset.maxFileBytes),
  bodyBytes: Number(panel.dataset.maxBodyBytes),
  files: Number(panel.dataset.maxFiles),
};
const list = byId('uploads');
const waiting = [];
const uploads = new Set();
let running = 0;

/** Files that become one study, and their line on the page. */
class Upload {
  constructor(files, reference) {
    this.files = files;
    this.reference = reference;
    this.size = files.reduce((sum, file) => sum + file.size, 0);
    this.state = 'waiting';
    this.name = files.length === 1 ? files[0].name : count(files.length, 'file');
    this.bar = element('progress', { max: 1, value: 0, aria: { label: `Upload of ${this.name}` } });
    this.note = element('span', { className: 'note' }, 'Waiting');
    this.action = element('button', { type: 'button', className: 'quiet' });
    this.action.addEventListener('click', () => this.#act());
    this.line = element(
      'li', {},
      element('span', { className: 'name', title: files.map((file) => file.name).join('\n') },
        this.name),
      element('span', { className: 'soft' }, bytes(this.size)),
      this.bar, this.note, this.action,
    );
    this.#offer('Cancel');
  }

  /** Why it cannot be accepted; '' if it can. */
  problem() {
    if (this.files.length > limits.files) {
      return `${this.files.length} files in one study; at most ${limits.files} are accepted`;
    }
    for (const file of this.files) {
      const prefix = this.files.length > 1 ? `${file.name}: ` : '';
      if (!file.size) return `${prefix}the file is empty`;
      if (file.size > limits.fileBytes) {
        return `${prefix}larger than ${bytes(limits.fileBytes)}`;
      }
    }
    return this.size > limits.bodyBytes ? `larger than ${bytes(limits.bodyBytes)} together` : '';
  }

  /** Sends the files; resolves when they are accepted or refused. */
  async send() {
    this.#set('sending', 'Uploading');
    for (let tries = 1; ; tries += 1) {
      const { status, text, retryAfter } = await this.#post();
      if (this.state === 'cancelled') return;
      if (status === 401) signIn();
      if (status === 202) {
        const { id } = JSON.parse(text);
        this.study = `/studies/${id}`;
        this.#set('done', 'Accepted');
        document.dispatchEvent(new CustomEvent('studies-changed'));
        return;
      }
      const isBusy = status === 429 || status === 503;
      if (!isBusy || tries >= TRIES_WHEN_BUSY) {
        const why = status ? message(text, status) : 'the connection was lost';
        // What the service refuses, it refuses again.
        const isFinal = status >= 400 && status < 500 && status !== 408 && status !== 429;
        this.#set(isFinal ? 'refused' : 'failed',
          this.files.length === 1 ? why.replace(/^file 1: /, '') : why);
        return;
      }
      this.#set('sending', 'The service is busy; trying again');
      await new Promise((resolve) => { setTimeout(resolve, 1000 * (retryAfter || RETRY_S)); });
      if (this.state === 'cancelled') return;
    }
  }

  #post() {
    const form = new FormData();
    for (const file of this.files) form.append('files', file);
    form.append('reference', this.reference);
    return new Promise((resolve) => {
      this.request = new XMLHttpRequest();
      this.request.upload.addEventListener('progress', (event) => {
        // The last part is the time until the files are on the server's disk.
        if (event.lengthComputable) this.bar.value = 0.95 * (event.loaded / event.total);
      });
      this.request.addEventListener('loadend', () => resolve({
        status: this.request.status,
        text: this.request.responseText,
        retryAfter: Number(this.request.getResponseHeader('Retry-After')),
      }));
      this.request.open('POST', '/v1/studies');
      this.request.send(form);
    });
  }

  #act() {
    if (this.state === 'done') {
      location.assign(this.study);
    } else if (this.state === 'failed') {
      enqueue(this);
    } else {
      this.#set('cancelled', 'Cancelled');
      this.request?.abort();
      report();
    }
  }

  queue() {
    this.bar.value = 0;
    this.#set('waiting', 'Waiting');
  }

  refuse(why) {
    this.#set('refused', why);
  }

  #set(state, note) {
    this.state = state;
    this.line.dataset.state = state;
    this.note.textContent = note;
    if (state === 'done') this.bar.value = 1;
    this.#offer({ waiting: 'Cancel', sending: 'Cancel', done: 'Open', failed: 'Try again' }[state]);
  }

  #offer(label) {
    this.action.hidden = !label;
    this.action.textContent = label ?? '';
    this.action.setAttribute('aria-label', `${label} ${this.name}`);
  }
}

function enqueue(upload) {
  upload.queue();
  waiting.push(upload);
  work();
}

async function work() {
  report();
  if (running >= AT_ONCE) return;
  const upload = waiting.shift();
  if (!upload) return;
  if (upload.state === 'waiting') {
    running += 1;
    work();
    try {
      await upload.send();
    } finally {
      running -= 1;
    }
  }
  work();
}

function add(files) {
  if (!files.length) return;
  const inOne = panel.querySelector('input[name=grouping]:checked').value === 'one';
  for (const group of inOne ? [files] : files.map((file) => [file])) {
    const upload = new Upload(group, reference(group[0]));
    uploads.add(upload);
    list.append(upload.line);
    const problem = upload.problem();
    if (problem) upload.refuse(problem);
    else enqueue(upload);
  }
  work();
}

function reference(file) {
  if (byId('use-names').checked) return file.name.replace(/\.[^.]*$/, '').slice(0, 100);
  return byId('reference').value.trim();
}

function report() {
  const counts = { done: 0, failed: 0, refused: 0, waiting: 0, sending: 0 };
  for (const { state } of uploads) counts[state] += 1;
  const parts = [];
  if (counts.waiting + counts.sending) parts.push(`${counts.waiting + counts.sending} uploading`);
  if (counts.done) parts.push(`${counts.done} accepted`);
  if (counts.failed + counts.refused) parts.push(`${counts.failed + counts.refused} not accepted`);
  byId('upload-status').textContent = parts.join(', ');
  byId('progress').hidden = !uploads.size;
}

function clearFinished() {
  for (const upload of uploads) {
    if (['waiting', 'sending'].includes(upload.state)) continue;
    uploads.delete(upload);
    upload.line.remove();
  }
  report();
  byId('files').focus();
}

function filesOf(transfer) {
  const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory;
  const items = [...transfer.items].filter((item) => item.kind === 'file');
  const files = items.filter((item) => !isFolder(item)).map((item) => item.getAsFile());
  if (files.length < items.length) {
    byId('progress').hidden = false;
    byId('upload-status').textContent = 'A folder cannot be uploaded: drop the files in it.';
  }
  return files;
}

const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
let depth = 0;
const highlight = () => document.body.classList.toggle('dropping', depth > 0);

document.addEventListener('dragenter', (event) => {
  if (!hasFiles(event)) return;
  depth += 1;
  highlight();
});
document.addEventListener('dragleave', (event) => {
  if (!hasFiles(event)) return;
  depth = Math.max(0, depth - 1);
  highlight();
});
document.addEventListener('dragover', (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = 'copy';
});
document.addEventListener('drop', (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  depth = 0;
  highlight();
  add(filesOf(event.dataTransfer));
});
byId('files').addEventListener('change', (event) => {
  add([...event.target.files]);
  event.target.value = '';
});
byId('use-names').addEventListener('change', (event) => {
  byId('reference').disabled = event.target.checked;
});
byId('clear-uploads').addEventListener('click', clearFinished);
window.addEventListener('beforeunload', (event) => {
  if (running || waiting.length) event.preventDefault();
});
