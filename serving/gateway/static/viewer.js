// Shows an image on a canvas: zoom, position, window and level, inversion, and a heat map over it.
// A rendering has 8 bits. Where the image has more, a `window` event asks for another rendering,
// until which the old one is shown with the new window. It knows nothing of studies; `change` events
// tell the controls what to show.

// More are not sharper on any screen, and take too long at each change of the window.
const MOST_PIXELS = 16e6;
const LARGEST_ZOOM = 32;
const VISIBLE_PX = 40;
const WHEEL_SPEED = 0.0016;
// The values of an 8-bit image, and those that are shown as black and as white.
const GREY = Object.freeze({ lowest: 0, highest: 255, black: 0, white: 255 });

const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));

export class Viewer extends EventTarget {
  /** `stage` is the element that takes pointers and the wheel, with a canvas in it. */
  constructor(stage) {
    super();
    this.stage = stage;
    this.canvas = stage.querySelector('canvas');
    this.context = this.canvas.getContext('2d', { alpha: false });
    this.grey = null;
    this.heat = null;
    this.setValues(GREY);
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

  /** Shows an image, whole and with its full window; `values` are its own where it has more bits. */
  async setImage(blob, values) {
    const { picture, pixels, shrink } = await decoded(blob);
    this.size = { width: picture.width, height: picture.height, shrink };
    this.picture = picture;
    this.pixels = pixels;
    this.grey = toGrey(pixels.data);
    this.heat = null;
    this.setValues(values ?? GREY);
    this.first = { grey: this.grey, black: this.black, white: this.white };
    this.reset();
  }

  /** Replaces the rendering by one of other values, with the same window. */
  async setRendering(blob, { black, white }) {
    const { pixels } = await decoded(blob);
    Object.assign(this, { grey: toGrey(pixels.data), black, white });
    this.#window();
    this.#draw();
  }

  /** Which values there are, and which the rendering shows as black and as white. */
  setValues({ lowest, highest, black, white }) {
    Object.assign(this, { black, white });
    const [low, high] = black < white ? [black, white] : [white, black];
    this.levels = [Math.min(lowest, low), Math.max(highest, high)];
    const range = this.levels[1] - this.levels[0];
    // Of 256 steps through all values.
    this.unit = range / 255;
    this.widths = [range < 255 ? this.unit : 2, 2 * range];
    // Whether high values are bright.
    this.sign = black < white ? 1 : -1;
    this.full = { width: high - low, level: (low + high) / 2 };
  }

  get isFull() {
    return this.width === this.full.width && this.level === this.full.level;
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
    this.width = this.full.width;
    this.level = this.full.level;
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
    this.width = clamp(width, this.widths);
    this.level = clamp(level, this.levels);
    this.#windowSoon();
  }

  /** Widens the window and raises its level by steps of a 256th; down is brighter. */
  changeWindow(width, level) {
    this.setWindow(this.width + width * this.unit, this.level + level * this.unit * this.sign);
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
      this.dispatchEvent(new Event('window'));
    });
  }

  /** Applies window, level and inversion to the pixels. */
  #window() {
    if (!this.hasImage) return;
    // The full window changes nothing, so that the pixels are those of the file.
    const { isFull } = this;
    if (isFull) Object.assign(this, this.first);
    const low = this.level - (this.sign * this.width) / 2;
    const table = new Uint32Array(256);
    for (let grey = 0; grey < 256; grey += 1) {
      const value = this.black + (grey / 255) * (this.white - this.black);
      const share = isFull ? grey / 255
        : clamp((this.sign * (value - low)) / this.width, [0, 1]);
      const shown = Math.round(255 * (this.inverted ? 1 - share : share));
      table[grey] = 0xff000000 | (shown * 0x010101);
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
    return this.changeWindow((now.x - before.x) * speed * 2, (now.y - before.y) * speed);
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

/** The pixels of an image, on a canvas of its size or of the largest one. */
async function decoded(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
  const shrink = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const width = Math.max(1, Math.round(bitmap.width * shrink));
  const height = Math.max(1, Math.round(bitmap.height * shrink));
  const picture = newCanvas(width, height);
  const context = picture.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return { picture, pixels: context.getImageData(0, 0, width, height), shrink };
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
