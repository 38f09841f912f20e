// Shows an 8-bit image on a canvas: zoom, position, window and level, inversion, and a heat map
// over it. It knows nothing of studies; `change` events tell the controls what to show.

// More are not sharper on any screen, and take too long at each change of the window.
const MOST_PIXELS = 16e6;
const LARGEST_ZOOM = 32;
const VISIBLE_PX = 40;
const WHEEL_SPEED = 0.0016;
export const FULL_WINDOW = Object.freeze({ width: 255, level: 128 });
export const WIDTHS = [2, 510];
export const LEVELS = [0, 255];

const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));

export class Viewer extends EventTarget {
  // What slow drags have not yet changed by a whole step.
  #fraction = { width: 0, level: 0 };

  /** `stage` is the element that takes pointers and the wheel, with a canvas in it. */
  constructor(stage) {
    super();
    this.stage = stage;
    this.canvas = stage.querySelector('canvas');
    this.context = this.canvas.getContext('2d', { alpha: false });
    this.grey = null;
    this.heat = null;
    this.strength = 0.6;
    this.dragsWindow = false;
    this.pointers = new Map();
    this.#reset();
    this.#listen();
    new ResizeObserver(() => this.#resize()).observe(stage);
  }

  get hasImage() {
    return this.grey !== null;
  }

  /** In percent: 100 is one pixel of the image on one pixel of the screen. */
  get zoom() {
    return Math.round(100 * this.scale * (this.size ? this.size.shrink : 1));
  }

  /** Shows an image, whole and with its full window. */
  async setImage(blob) {
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
    const shrink = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
    const width = Math.max(1, Math.round(bitmap.width * shrink));
    const height = Math.max(1, Math.round(bitmap.height * shrink));
    const picture = newCanvas(width, height);
    const context = picture.getContext('2d', { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    this.size = { width, height, shrink };
    this.picture = picture;
    this.pixels = context.getImageData(0, 0, width, height);
    this.grey = toGrey(this.pixels.data);
    this.heat = null;
    this.reset();
  }

  clear() {
    this.grey = null;
    this.heat = null;
    this.#draw();
  }

  /** Lays a grey heat map over the whole image; null removes it. */
  async setHeat(blob) {
    this.heat = blob ? await coloured(blob) : null;
    this.#draw();
  }

  setStrength(share) {
    this.strength = share;
    this.#draw();
  }

  reset() {
    this.#reset();
    this.#window();
    this.fit();
  }

  #reset() {
    this.width = FULL_WINDOW.width;
    this.level = FULL_WINDOW.level;
    this.inverted = false;
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.isFitted = true;
  }

  /** Shows the whole image. */
  fit() {
    this.isFitted = true;
    this.scale = this.#fittingScale();
    this.x = 0;
    this.y = 0;
    this.#draw();
  }

  actualSize() {
    if (this.hasImage) this.#zoomTo(1 / this.size.shrink, 0, 0);
  }

  /** Multiplies the zoom; the point x, y, in screen pixels from the middle, stays in place. */
  zoomBy(factor, x = 0, y = 0) {
    if (this.hasImage) this.#zoomTo(this.scale * factor, x, y);
  }

  #zoomTo(scale, x, y) {
    const limits = [Math.min(this.#fittingScale(), 1) / 2, LARGEST_ZOOM];
    const factor = clamp(scale, limits) / this.scale;
    this.isFitted = false;
    this.scale *= factor;
    this.x = x - (x - this.x) * factor;
    this.y = y - (y - this.y) * factor;
    this.moveBy(0, 0);
  }

  /** Moves the image, in screen pixels; a part of it always stays in sight. */
  moveBy(x, y) {
    if (!this.hasImage) return;
    const range = (image, canvas) => {
      const most = Math.max(0, (image * this.scale + canvas) / 2 - VISIBLE_PX);
      return [-most, most];
    };
    if (x || y) this.isFitted = false;
    this.x = clamp(this.x + x, range(this.size.width, this.canvas.width));
    this.y = clamp(this.y + y, range(this.size.height, this.canvas.height));
    this.#draw();
  }

  setWindow(width, level) {
    this.width = Math.round(clamp(width, WIDTHS));
    this.level = Math.round(clamp(level, LEVELS));
    this.#windowSoon();
  }

  invert() {
    this.inverted = !this.inverted;
    this.#windowSoon();
  }

  #windowSoon() {
    // A pointer moves more often than the screen shows a picture.
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.#window();
      this.#draw();
    });
  }

  /** Applies window, level and inversion to the pixels. */
  #window() {
    if (!this.hasImage) return;
    const low = this.level - this.width / 2;
    const table = new Uint32Array(256);
    // The full window changes nothing, so that the pixels are those of the file.
    const isFull = this.width === FULL_WINDOW.width && this.level === FULL_WINDOW.level;
    for (let value = 0; value < 256; value += 1) {
      const share = isFull ? value / 255 : clamp((value - low) / this.width, [0, 1]);
      const shown = Math.round(255 * (this.inverted ? 1 - share : share));
      table[value] = 0xff000000 | (shown * 0x010101);
    }
    const target = new Uint32Array(this.pixels.data.buffer);
    for (let index = 0; index < target.length; index += 1) target[index] = table[this.grey[index]];
    this.picture.getContext('2d').putImageData(this.pixels, 0, 0);
  }

  #draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = '#000';
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (this.hasImage) {
      const { width, height } = this.size;
      context.setTransform(
        this.scale, 0, 0, this.scale, canvas.width / 2 + this.x, canvas.height / 2 + this.y,
      );
      // Large pixels are shown as they are, not blurred.
      context.imageSmoothingEnabled = this.scale < 6;
      context.imageSmoothingQuality = 'high';
      context.drawImage(this.picture, -width / 2, -height / 2);
      if (this.heat) {
        context.imageSmoothingEnabled = true;
        context.globalAlpha = this.strength;
        context.drawImage(this.heat, -width / 2, -height / 2, width, height);
        context.globalAlpha = 1;
      }
    }
    // While the whole image is in sight, one finger scrolls the page.
    this.stage.style.touchAction = this.isFitted && !this.dragsWindow ? 'pan-y' : 'none';
    this.dispatchEvent(new Event('change'));
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    if (this.isFitted) this.fit();
    else this.moveBy(0, 0);
  }

  #fittingScale() {
    if (!this.hasImage) return 1;
    return Math.min(
      this.canvas.width / this.size.width, this.canvas.height / this.size.height,
    );
  }

  /** The place of an event, in screen pixels from the middle. */
  #place(event) {
    const box = this.stage.getBoundingClientRect();
    const ratio = this.canvas.width / (this.stage.clientWidth || 1);
    return {
      x: (event.clientX - box.left - box.width / 2) * ratio,
      y: (event.clientY - box.top - box.height / 2) * ratio,
    };
  }

  #listen() {
    const { stage } = this;
    stage.addEventListener('wheel', (event) => {
      event.preventDefault();
      const place = this.#place(event);
      // A wheel that counts lines, or a pinch on a touch pad, which sends small steps with Ctrl.
      const steps = event.deltaY * (event.deltaMode ? 30 : 1) * (event.ctrlKey ? 6 : 1);
      this.zoomBy(Math.exp(-clamp(steps, [-400, 400]) * WHEEL_SPEED), place.x, place.y);
    }, { passive: false });
    stage.addEventListener('pointerdown', (event) => {
      if (event.button === 1) return;
      stage.setPointerCapture(event.pointerId);
      const drag = this.dragsWindow || event.shiftKey || event.button === 2 ? 'window' : 'move';
      this.pointers.set(event.pointerId, { ...this.#place(event), drag });
    });
    stage.addEventListener('pointermove', (event) => {
      const before = this.pointers.get(event.pointerId);
      if (!before) return;
      const now = { ...this.#place(event), drag: before.drag };
      if (this.pointers.size === 1) this.#drag(before, now);
      else this.#pinch(event.pointerId, before, now);
      this.pointers.set(event.pointerId, now);
    });
    for (const name of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      stage.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    stage.addEventListener('contextmenu', (event) => event.preventDefault());
    stage.addEventListener('dblclick', (event) => {
      if (!this.isFitted) return this.fit();
      const place = this.#place(event);
      const factor = 1 / this.size.shrink / this.scale;
      return this.zoomBy(factor > 1.05 ? factor : 2, place.x, place.y);
    });
  }

  #drag(before, now) {
    if (now.drag === 'move') return this.moveBy(now.x - before.x, now.y - before.y);
    // A drag over the whole stage passes the whole range. Up is brighter.
    const speed = 255 / Math.min(this.canvas.width, this.canvas.height);
    this.#fraction = {
      width: this.#fraction.width + (now.x - before.x) * speed * 2,
      level: this.#fraction.level + (now.y - before.y) * speed,
    };
    const [width, level] = [Math.trunc(this.#fraction.width), Math.trunc(this.#fraction.level)];
    this.#fraction.width -= width;
    this.#fraction.level -= level;
    return this.setWindow(this.width + width, this.level + level);
  }

  #pinch(id, before, now) {
    const other = [...this.pointers].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
    this.moveBy((now.x - before.x) / 2, (now.y - before.y) / 2);
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    this.zoomBy(distance(now) / distance(before), middle.x, middle.y);
  }
}

function newCanvas(width, height) {
  return Object.assign(document.createElement('canvas'), { width, height });
}

/** One value for each pixel of RGBA data. */
function toGrey(data) {
  const grey = new Uint8Array(data.length / 4);
  for (let index = 0; index < grey.length; index += 1) {
    const at = 4 * index;
    grey[index] = (data[at] * 299 + data[at + 1] * 587 + data[at + 2] * 114 + 500) / 1000;
  }
  return grey;
}

/** A heat map in colours from clear over orange to yellow, as the legend shows. */
async function coloured(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
  const canvas = newCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d');
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const heat = pixels.data[at] / 255;
    pixels.data[at] = 170 + 85 * heat;
    pixels.data[at + 1] = 20 + 210 * heat ** 1.6;
    pixels.data[at + 2] = 90 * (1 - heat) ** 2;
    pixels.data[at + 3] = 255 * heat ** 1.2;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
