import java.io.*; import java.nio.charset.StandardCharsets;
import org.apache.lucene.analysis.*; import org.apache.lucene.analysis.tokenattributes.*;
import io.anserini.analysis.DefaultEnglishAnalyzer;
public class Terms {
  public static void main(String[] a) throws Exception {
    Analyzer an = a[0].equals("english") ? DefaultEnglishAnalyzer.newDefaultInstance() : new org.apache.lucene.analysis.cjk.CJKAnalyzer(CharArraySet.EMPTY_SET);
    BufferedReader r = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, false, "UTF-8"); String line;
    while ((line = r.readLine()) != null) {
      TokenStream ts = an.tokenStream("f", line); CharTermAttribute t = ts.addAttribute(CharTermAttribute.class); ts.reset();
      StringBuilder sb = new StringBuilder(); while (ts.incrementToken()) { if (sb.length()>0) sb.append(' '); sb.append(t.toString()); }
      ts.end(); ts.close(); out.println(line + "\t" + sb);
    }
    out.flush();
  }
}
